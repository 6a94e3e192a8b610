//! ddpm
