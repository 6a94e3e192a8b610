//! mixture
