//! heun
