//! From a manifest to tables: manifest -> plan -> build -> runner -> sink -> table and plots.

mod axis;
pub mod build;
pub mod claims;
pub mod compare;
pub mod diagnostic;
pub mod error;
pub mod features;
pub mod fold;
pub mod hardware;
pub mod image_grid;
pub mod manifest;
pub mod overlay;
mod page;
pub mod plan;
pub mod plot;
pub mod presentation;
pub mod progress;
pub mod provenance;
pub mod record;
pub mod reference;
pub mod runner;
pub mod sheet;
pub mod show;
pub mod sink;
pub mod stats;
pub mod table;
