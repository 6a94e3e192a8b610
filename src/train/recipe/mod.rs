//! What a manifest of a training asks for, checked and complete: all that decides the weights as far
//! as it can be known before the images are read, and what is kept on the way.
//!
//! `spec` is what is read, `read` and `network` read it. What needs a file is checked by
//! [`Recipe::check_files`], and what needs the shape of the images by [`Recipe::settings`], both at
//! the places of the manifest.

mod files;
mod fit;
mod network;
pub(crate) mod read;
mod spec;

pub use spec::{
    ClassifierSpec, DataSpec, DenoiserSpec, DistanceSpec, LearnerSpec, NetworkSpec, Recipe,
    WatchSpec,
};
