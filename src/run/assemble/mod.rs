//! From the words of a manifest to solvers, schedules and models: the one place that names both.
//!
//! Solvers are named in `registry`, everything else here. The rest of the harness sees names, plans
//! and [`Sampler`]s. A plan's cell becomes a [`Route`] first, which needs no model, and then, of
//! [`Models`], a [`Sampler`].

mod any_truth;
mod bound;
mod denoiser;
mod files;
mod models;
mod route;
mod sampler;
mod solver;
mod vocabulary;

pub use denoiser::exact_model;
pub(crate) use files::scheduler_of;
pub use files::{hub_model, missing_files, to_download, weights_path};
pub use models::Models;
pub use route::{Route, warning};
pub use sampler::{Carried, Sampler, Samples, Way, single};
pub use vocabulary::vocabulary;

/// Version of the numerics: part of every cell's key, raised when the same manifest would give
/// other numbers.
pub const NUMERICS: &str = "1";
