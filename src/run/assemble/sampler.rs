//! What the rest of the harness asks of a cell's method and model, in images on the host.

use std::collections::BTreeMap;

use ndarray::{Array4, ArrayView4};

use crate::{
    core::{self, KeyedNoise},
    measure::samples::Samples,
    plan::{ObjectiveSpec, TraceSpec, tau_file::Objective},
};

/// A batch at the end of its way.
#[derive(Clone, Debug)]
pub struct Carried {
    /// `[N, C, H, W]`: f64 holds every state without loss.
    pub x: Array4<f64>,
    /// Model calls per sample, counted at the model.
    pub calls: u64,
}

/// Images in single precision, as files and features need them; row 0 is the sample `first`.
///
/// # Errors
/// A sample with a value that f32 cannot hold.
#[allow(clippy::cast_possible_truncation, reason = "image files hold f32")]
pub fn single(images: ArrayView4<'_, f64>, first: u64) -> core::Result<Array4<f32>> {
    for (sample, image) in (first..).zip(images.outer_iter()) {
        let value = image.iter().copied().fold(0.0, |most: f64, x| most.max(x.abs()));
        if !(value as f32).is_finite() {
            return Err(core::Error::BeyondF32 { sample, value });
        }
    }
    Ok(images.mapv(|value| value as f32))
}

/// Images on [-1, 1] whose cost or objective is asked for.
#[derive(Clone, Debug)]
pub enum Coded {
    /// These, `[N, C, H, W]`.
    Images(Array4<f64>),
    /// As many draws of the data; their cost is that of the nearest bytes.
    Draws(usize),
}

/// What images cost.
#[derive(Clone, Debug)]
pub struct Costs {
    /// What each image costs, in all and in parts, by the names of their measures.
    pub numbers: BTreeMap<&'static str, Vec<f64>>,
    /// Model calls per image, counted at the model.
    pub calls: u64,
}

/// Which way a batch is carried along its grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From x_T to images; to the first level of a window by the reference solution.
    Sample,
    /// From the grid's last level to its first, by the cell's convention of inversion.
    Encode,
    /// From the grid's first level, where encoding ends, to its last.
    Decode,
}

/// The model calls per sample behind the costs of steps between the noisy levels of a grid.
///
/// Heun's method asks twice a step, once where it ends clean; the path asks once more at every level, and
/// an error at a level is carried over the rest of them.
pub fn step_cost_calls(levels: usize, objective: Objective) -> u64 {
    let n = levels as u64;
    let path = 3 * n - 1;
    if objective == Objective::Carried { path + (n - 1) * (n - 1) } else { path }
}

/// Draws samples, and carries images to latents and back, whatever tensor its states are.
pub trait Sampler {
    /// Shape of one sample, `[C, H, W]`.
    fn shape(&self) -> [usize; 3];

    /// Draws `rows` samples of keyed noise, from x_T = its initial draw; `observe` sees the model
    /// calls per sample after every step.
    ///
    /// # Errors
    /// Whatever the model returns, a state that is not finite, or the observer's error.
    fn sample(
        &self,
        noise: KeyedNoise,
        rows: usize,
        observe: &mut dyn FnMut(u64) -> core::Result<()>,
    ) -> core::Result<Samples>;

    /// Carries a batch along the grid; `noise` is that of a stochastic method.
    ///
    /// # Errors
    /// A method that does not run this way, and as [`Sampler::sample`].
    fn carry(
        &self,
        way: Way,
        x: Array4<f64>,
        noise: KeyedNoise,
        observe: &mut dyn FnMut(u64) -> core::Result<()>,
    ) -> core::Result<Carried>;

    /// How many bits each byte of some images costs: the variational bound of a method that draws noise,
    /// the likelihood of the ODE of one that draws none. `noise` is that of its terms, or of the places
    /// in the bins and of the probes; `observe` sees the model calls per image.
    ///
    /// # Errors
    /// A grid or a variance that has no bound, a model without such a trace, and as [`Sampler::sample`].
    fn bits(
        &self,
        coded: Coded,
        trace: Option<&TraceSpec>,
        noise: KeyedNoise,
        observe: &mut dyn FnMut(u64) -> core::Result<()>,
    ) -> core::Result<Costs>;

    /// J_sigma and L_gamma of some images, at one draw of the noising process for each; `observe` sees the
    /// model calls per image.
    ///
    /// # Errors
    /// A grid or a variance that has no objective, and as [`Sampler::sample`].
    fn objective(
        &self,
        coded: Coded,
        spec: &ObjectiveSpec,
        noise: KeyedNoise,
        observe: &mut dyn FnMut(u64) -> core::Result<()>,
    ) -> core::Result<Costs>;

    /// What DDIM's step costs from each level of the grid to each later one, by an objective, summed over
    /// the solutions from `rows` x_T of keyed noise.
    /// `observe` sees the model calls per sample, [`step_cost_calls`] in all.
    ///
    /// # Errors
    /// As [`Sampler::sample`].
    fn step_costs(
        &self,
        noise: KeyedNoise,
        rows: usize,
        objective: Objective,
        observe: &mut dyn FnMut(u64) -> core::Result<()>,
    ) -> core::Result<Vec<Vec<f64>>>;

    /// Where the reference solution of these samples starts, and where it ends; `observe` is called at every
    /// model call.
    ///
    /// # Errors
    /// A cell without a reference solution, and as [`Sampler::sample`].
    fn solution(
        &self,
        noise: KeyedNoise,
        rows: usize,
        observe: &mut dyn FnMut() -> core::Result<()>,
    ) -> core::Result<(Array4<f64>, Array4<f64>)>;

    /// The x_T that samples start from: the initial draw of keyed noise.
    ///
    /// # Errors
    /// Whatever the tensor library returns.
    fn initial(&self, noise: KeyedNoise, rows: usize) -> core::Result<Array4<f64>>;
}
