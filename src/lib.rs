//! A harness for research on diffusion samplers.

#[macro_use]
mod terminal;

pub mod backends;
pub mod cli;
pub mod core;
pub mod data;
pub mod harness;
pub mod likelihood;
pub mod metrics;
pub mod models;
pub mod solvers;
pub mod train;
