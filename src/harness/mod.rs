//! From a manifest to tables: manifest -> plan -> build -> runner -> results -> show.

pub mod accuracy;
pub mod build;
pub mod diagnostic;
pub mod error;
pub mod estimate;
pub mod evaluate;
pub mod features;
pub mod hardware;
pub mod home;
pub mod instruments;
pub mod inventory;
pub mod latents;
pub mod manifest;
pub mod names;
pub mod overlay;
mod peers;
pub mod plan;
pub mod progress;
mod published;
pub mod recipe;
pub mod reference;
pub mod registry;
mod results;
pub mod runner;
mod show;
mod stated;
pub mod stats;
pub mod tasks;
pub mod training;
mod truth;

use results::{date, leftovers};
pub use results::{folder, partial, provenance, record, sink};
use show::{axis, page};
pub use show::{
    claims, compare, fold, image_grid, measure, overview, plot, presentation, ranks, report, sheet,
    table,
};
