//! From a plan to finished cells: what a plan names is assembled, and the cells are run.

pub mod assemble;
pub mod estimate;
mod job;
pub mod latents;
pub mod outline;
mod pace;
pub mod prepared;
pub mod registry;
pub mod runner;
pub mod shard;
mod solution;
pub mod speed;
pub mod standing;
pub mod tasks;
