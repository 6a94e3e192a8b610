//! Errors of the numerical core.
