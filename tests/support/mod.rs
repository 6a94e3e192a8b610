//! What several test files share.

#![allow(dead_code, reason = "each test file uses its own part")]

#[cfg(feature = "harness")]
pub mod cases;
#[cfg(feature = "harness")]
pub mod checkpoints;
pub mod fill;
pub mod kills;
#[cfg(feature = "harness")]
pub mod order;
#[cfg(feature = "harness")]
pub mod program;
#[cfg(feature = "harness")]
pub mod solvers;

use std::path::PathBuf;

use ddim::{
    backends::array::Array,
    core::{At, Denoiser, Draw, End, Grid, Noise, Result, Schedule, Tau},
};

/// A file of `tests/golden`.
pub fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// A golden JSON file.
pub fn golden_json(name: &str) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(golden(name)).unwrap()).unwrap()
}

/// One tensor of a golden safetensors file, in f64.
pub fn golden_tensor(file: &str, name: &str) -> Array {
    let bytes = std::fs::read(golden(file)).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensor = tensors.tensor(name).unwrap();
    let values = match tensor.dtype() {
        safetensors::Dtype::F32 => tensor
            .data()
            .chunks_exact(4)
            .map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap())))
            .collect(),
        safetensors::Dtype::F64 => tensor
            .data()
            .chunks_exact(8)
            .map(|b| f64::from_le_bytes(b.try_into().unwrap()))
            .collect(),
        other => panic!("{file}: {name} is {other:?}"),
    };
    Array::from_shape_vec(tensor.shape(), values).unwrap()
}

/// The closed-form model of the sampler goldens: reads the label alone.
///
/// eps(x, t) = sqrt(1 - a) / (0.25 a + 1 - a) x + 0.1 a sin(3 x),
/// a = exp(-(1e-4 u + 0.995e-5 u^2)), u = t + 1.
pub struct ClosedForm;

impl Denoiser for ClosedForm {
    type State = Array;

    fn predict(&self, x: &Array, at: At) -> Result<Array> {
        let u = at.asked.t + 1.0;
        let a = (-(1e-4 * u + 0.995e-5 * u * u)).exp();
        let scale = (1.0 - a).sqrt() / (0.25 * a + 1.0 - a);
        Ok(x.mapv(|value| scale * value + 0.1 * a * (3.0 * value).sin()))
    }
}

/// The noise of the sampler goldens: `normal("sampler/z<k>")` at position k.
pub struct ReplayedNoise;

impl Noise<Array> for ReplayedNoise {
    fn draw(&self, like: &Array, draw: Draw) -> Result<Array> {
        let Draw::Step { position, .. } = draw else { panic!("x_T is given") };
        let values = fill::normal(&format!("sampler/z{position}"), like.len());
        Ok(Array::from_shape_vec(like.raw_dim(), values).unwrap())
    }
}

/// The schedule of Ho et al. in f64.
pub fn linear() -> Schedule {
    Schedule::linear(1e-4, 0.02, 1000).unwrap()
}

/// A grid of the linear schedule that ends clean.
pub fn grid(tau: &Tau, steps: usize) -> Grid {
    Grid::new(&linear(), tau, steps, End::Clean).unwrap()
}

/// The largest absolute difference.
pub fn max_abs_diff(a: &Array, b: &Array) -> f64 {
    assert_eq!(a.shape(), b.shape());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}
