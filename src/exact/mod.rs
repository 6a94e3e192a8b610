//! Models whose data is known, so that their score is exact: a Gaussian and its limit, the Dirac
//! distribution, and mixtures of Gaussians. They give every solver a known answer without weights.
//! Linear models are fitted to such data. A table of categories has no score, but exact posteriors.

mod categorical;
mod ensemble;
mod gaussian;
mod linear;
mod mixture;
mod model;

pub use categorical::{Categorical, VALUES};
pub use ensemble::Ensemble;
pub use gaussian::{CentredGaussian, Gaussian, GaussianFlow};
pub use linear::Linear;
pub use mixture::{Component, Mixture};
pub use model::{ExactModel, draws};
