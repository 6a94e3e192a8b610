//! What instruments read.

use std::{collections::BTreeMap, time::Duration};

use ndarray::Array4;

/// A batch of finished samples.
#[derive(Clone, Debug)]
pub struct Samples {
    /// `[N, C, H, W]`, unclamped.
    pub images: Array4<f32>,
    /// Model calls per sample, counted at the model.
    pub calls: u64,
    /// Numbers of each sample, by the names of their measures.
    pub numbers: BTreeMap<&'static str, Vec<f64>>,
    /// The reference solution's images, `[N, C, H, W]`, unclamped, where samples are compared with it.
    pub solution: Option<Array4<f32>>,
    /// All images of all paths, `[N points, C, H, W]`, path by path, where samples are paths.
    pub path: Option<Array4<f32>>,
    /// How long the model was run for them, without the reference solution.
    pub time: Duration,
}
