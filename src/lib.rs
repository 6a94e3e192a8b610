//! Samplers of diffusion models, and a harness that measures them.
//!
//! Two doors lead in. `--no-default-features` is the library of this page: [`core`], [`solvers`],
//! [`exact`], [`backends::array`], [`likelihood`] and [`metrics`]. The feature `harness`, on by
//! default, adds everything with a file, a terminal or a network, as rooms that each know only those
//! before them:
//!
//! - `data`: images in and out; `networks`: UNets, checkpoints, feature extractors, the Hub.
//! - `plan`: what is to be run, with every name resolved; `manifest`: from a text to a plan, or to
//!   every problem it has, shown at its place by `diagnostic`.
//! - `measure`: from samples to numbers; `results`: what a run keeps; `report`: what people look at.
//! - `run`: assembles what a plan names, and runs its cells; `train`: makes networks; `cluster`: scripts and
//!   queues of a scheduler.
//! - `cli`: the program.
//!
// Doctests have no path to LibTorch: those of the guide run without it.
#![cfg_attr(not(all(doctest, feature = "torch")), doc = include_str!("../docs/library.md"))]

/// The README's example, tried as the guide's are.
#[cfg(all(doctest, not(feature = "torch")))]
#[doc = include_str!("../README.md")]
struct Readme;

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
pub mod cluster;
#[cfg(feature = "harness")]
pub mod data;
#[cfg(feature = "harness")]
pub mod diagnostic;
#[cfg(feature = "harness")]
pub mod error;
#[cfg(feature = "harness")]
pub mod hardware;
#[cfg(feature = "harness")]
pub(crate) mod limits;
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

/// For the targets in `fuzz/` and their test; no part of the interface.
#[cfg(all(feature = "harness", any(test, fuzzing)))]
#[doc(hidden)]
pub mod fuzzing;
