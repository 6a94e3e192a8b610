//! Pure functions on feature matrices.

mod frechet;
mod jackknife;
mod moments;

pub use jackknife::Jackknife;
