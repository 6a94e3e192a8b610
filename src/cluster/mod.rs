//! Runs of an experiment on a cluster: scripts for its scheduler, and what is in its queue.

pub mod shell;
pub mod slurm;
