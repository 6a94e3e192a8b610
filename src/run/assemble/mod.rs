//! From the words of a manifest to solvers, schedules and models: the one place that names both.
//!
//! Solvers are named in `registry`, everything else here. The rest of the harness sees names, plans
//! and [`Sampler`]s. A plan's cell becomes a [`Route`] first, which needs no model, and then, of
//! [`Models`], a [`Sampler`].

mod any_solution;
mod bound;
mod categories;
mod denoiser;
mod files;
mod levels;
mod models;
mod route;
mod sampler;
mod solver;
mod vocabulary;

pub use crate::measure::samples::Samples;
pub use denoiser::instruments;
pub use files::{hub_model, missing_files, to_download, weights_path};
pub(crate) use files::{precision, scheduler_of, stated};
pub use models::{Models, chosen_for_cell, order};
pub use route::{Route, remedy, warning};
pub use sampler::{Carried, Coded, Costs, Sampler, Way, single, step_cost_calls};
pub use vocabulary::vocabulary;

pub use crate::core::NUMERICS;
