//! A harness for research on diffusion samplers.

#[cfg(feature = "harness")]
#[macro_use]
pub mod terminal;

pub mod backends;
pub mod core;
pub mod exact;
pub mod likelihood;
pub mod metrics;
pub mod solvers;

#[cfg(feature = "harness")]
pub mod cli;
#[cfg(feature = "harness")]
pub mod data;
#[cfg(feature = "harness")]
pub mod diagnostic;
#[cfg(feature = "harness")]
pub mod error;
#[cfg(feature = "harness")]
pub mod hardware;
#[cfg(feature = "harness")]
pub mod manifest;
#[cfg(feature = "harness")]
pub mod measure;
#[cfg(feature = "harness")]
pub mod networks;
#[cfg(feature = "harness")]
pub mod plan;
#[cfg(feature = "harness")]
pub mod report;
#[cfg(feature = "harness")]
pub mod results;
#[cfg(feature = "harness")]
pub mod run;
#[cfg(feature = "harness")]
pub mod train;
