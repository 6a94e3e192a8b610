//! The loss of a diffusion model: the squared error of what it predicts at drawn timesteps, the
//! variational bound of what it samples, or both.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};

use crate::backends::upload::upload;
use crate::networks::{
    placement::Placement,
    predicts::Predicts,
    unet::{self, Unet, UnetError},
};
use crate::train::{
    batch::Batch,
    dropout::{self, Dropout},
    objective::{Loss, Objective, unfit},
    settings::{Denoiser, DenoiserLossKind},
    variational::{self, Terms},
};

/// Parts of the timesteps whose mean losses are reported with the whole: equal quarters.
pub const QUARTERS: usize = 4;

/// The column of the variational bound: an estimate of all its terms but the prior's, bits per dimension.
pub const VLB: &str = "vlb";

/// $w(t)\,\lVert y - f_\theta(\sqrt{\bar\alpha_t}\,x_0 + \sqrt{1 - \bar\alpha_t}\,\epsilon, t)\rVert^2$
/// with y the target and $w = \min(1/\bar\alpha_t, \text{cap})$, as a mean over values and images.
///
/// With a cap of 1 and eps as the target this is $L_\text{simple}$ (Ho et al. 2020, Eq. 14). A network with
/// a range of the variance adds to it, or takes in its place, T times the term of the variational bound
/// at t: $L_\text{hybrid}$ and $L_\text{vlb}$ (Nichol, Dhariwal 2021, Eqs. 16 and 4).
#[derive(Debug)]
pub struct DenoiserLoss {
    learner: Denoiser,
    seed: u64,
    layers: usize,
    placement: Placement,
    /// $\sqrt{\bar\alpha}$, $\sqrt{1 - \bar\alpha}$ and the weight, by timestep.
    levels: Vec<[f32; 3]>,
    /// Those of the variational bound, if it is learned.
    terms: Option<Terms>,
}

impl DenoiserLoss {
    /// The loss of a denoiser, on a device.
    ///
    /// # Panics
    /// Never: every timestep below the horizon has a level.
    pub fn new(learner: Denoiser, seed: u64, placement: Placement) -> Self {
        let level = |t: usize| {
            let level =
                learner.schedule.level(t as f64).expect("invariant: t is below the horizon");
            let weight = (1.0 / level.alpha_bar).min(learner.weight_cap);
            #[allow(clippy::cast_possible_truncation)] // the network's own precision
            [level.signal(), level.std(), weight].map(|x| x as f32)
        };
        let levels = (0..learner.schedule.horizon()).map(level).collect();
        let layers = dropout::layers(&learner);
        let terms = learner.loss.learns_range();
        let terms = terms.then(|| Terms::new(&learner.schedule, learner.target));
        Self { learner, seed, layers, placement, levels, terms }
    }
}

impl Objective for DenoiserLoss {
    fn parameters(&self) -> BTreeMap<String, Vec<i64>> {
        self.learner.network.tensors()
    }

    /// As Ho et al. have it: each residual block and each attention begins as the identity, and the
    /// network's first prediction is 0.
    fn begins_at_zero(&self, layer: &str) -> bool {
        let last = |name: &str| layer.rsplit('.').next() == Some(name);
        layer == "conv_out" || last("conv2") || layer.ends_with("to_out.0")
    }

    /// The images' bytes, the noise, three numbers of each timestep `[3, N]`, the timesteps, the
    /// frequencies of their features; the numbers of the bound and the weights `[N]`, if the bound is
    /// learned; and the keys of dropout if there is any.
    fn inputs(&self, batch: &Batch) -> Result<Vec<Tensor>, tch::TchError> {
        let shape = batch.shape.map(|side| side.cast_signed() as i64);
        let level = |which: usize| {
            let timesteps = batch.timesteps.iter();
            timesteps.filter_map(move |&t| Some(self.levels.get(usize::try_from(t).ok()?)?[which]))
        };
        let levels: Vec<f32> = (0..3).flat_map(level).collect();
        let mut host = vec![
            Tensor::f_from_slice(&batch.images)?.f_reshape(shape)?,
            Tensor::f_from_slice(&batch.noise)?.f_reshape(shape)?,
            Tensor::f_from_slice(&levels)?.f_reshape([3, -1])?,
            Tensor::f_from_slice(&batch.timesteps)?,
            unet::frequencies(&self.learner.network, Device::Cpu)?,
        ];
        if let Some(terms) = &self.terms {
            host.push(terms.of(&batch.timesteps)?);
            host.push(match batch.weights.as_slice() {
                [] => Tensor::f_ones([shape[0]], (Kind::Float, Device::Cpu))?,
                weights => Tensor::f_from_slice(weights)?,
            });
        }
        if self.learner.dropout > 0.0 {
            host.push(dropout::keys(self.seed, batch.first, batch.shape[0], self.layers)?);
        }
        host.iter().map(|host| upload(host, self.placement.device)).collect()
    }

    fn loss(
        &self,
        parameters: &BTreeMap<String, Tensor>,
        _: &mut BTreeMap<String, Tensor>,
        inputs: &[Tensor],
    ) -> Result<Loss, UnetError> {
        let [bytes, eps, levels, t, frequencies, rest @ ..] = inputs else {
            return Err(unfit(inputs));
        };
        let (bound, keys) = match (&self.terms, rest) {
            (None, keys) => (None, keys),
            (Some(_), [numbers, weights, keys @ ..]) => (Some((numbers, weights)), keys),
            (Some(_), _) => return Err(unfit(inputs)),
        };
        let x0 = bytes.f_to_kind(Kind::Float)?.f_div_scalar_(127.5)?.f_sub_scalar_(1.0)?;
        let per_image = |which| levels.f_get(which)?.f_reshape([-1, 1, 1, 1]);
        let (signal, noise) = (per_image(0)?, per_image(1)?);
        let x = signal.f_mul(&x0)?.f_add_(&noise.f_mul(eps)?)?;

        let network =
            Unet::of_parameters(&self.learner.network, parameters, frequencies, self.placement)?;
        let dropout = keys.first().map(|keys| Dropout::new(keys, self.learner.dropout));
        let dropout = dropout.as_ref().map(|dropout| dropout as &dyn unet::Dropout);
        let out = network.forward_train(&x, t, dropout)?;
        let channels = x.size()[1];
        let predicted =
            if bound.is_some() { out.f_narrow(1, 0, channels)? } else { out.shallow_clone() };
        let target = match self.learner.target {
            Predicts::Eps => eps.shallow_clone(),
            Predicts::X0 => x0.shallow_clone(),
            Predicts::V => signal.f_mul(eps)?.f_sub(&noise.f_mul(&x0)?)?,
        };
        let error = predicted.f_sub(&target)?;
        let squares = error.f_square()?;
        let each = squares.f_mean_dim([1_i64, 2, 3].as_slice(), false, Kind::Float)?;
        let weighted = if self.learner.weight_cap > 1.0 {
            each.f_mul(&levels.f_get(2)?)?
        } else {
            each.shallow_clone()
        };
        let Some((numbers, weights)) = bound else {
            let total = weighted.f_mean(Kind::Float)?;
            return Ok(Loss { total, each: each.f_detach()?.f_unsqueeze(0)? });
        };
        let range = out.f_narrow(1, channels, channels)?;
        let loss = self.learner.loss;
        // The bound of a hybrid loss moves the variance alone.
        let error = if loss == DenoiserLossKind::Vlb { error } else { error.f_detach()? };
        let vlb = variational::bits(numbers, &error, &range, &x0)?;
        let vlb = vlb.f_mul_scalar(self.levels.len() as f64)?.f_to_kind(Kind::Float)?;
        let total = match loss {
            DenoiserLossKind::Hybrid(factor) => weighted.f_add(&vlb.f_mul_scalar(factor)?)?,
            _ => vlb.shallow_clone(),
        };
        let rows = [&total, &each, &vlb].map(Tensor::f_detach);
        let each = Tensor::f_stack(&rows.into_iter().collect::<Result<Vec<_>, _>>()?, 0)?;
        Ok(Loss { total: total.f_mul(weights)?.f_mean(Kind::Float)?, each })
    }

    fn importance(&self) -> bool {
        self.learner.importance
    }

    fn divides(&self) -> bool {
        true
    }

    fn horizon(&self) -> usize {
        self.levels.len()
    }

    /// The squared error with those of its quarters, called the loss where it is the whole of it; beside a
    /// bound the loss is first, and T times the term of the bound is last.
    fn columns(&self) -> Vec<String> {
        let error = if self.terms.is_some() { "mse" } else { "loss" };
        let quarters = (0..QUARTERS).map(|quarter| {
            let horizon = self.levels.len();
            let (low, high) = (quarter * horizon / QUARTERS, (quarter + 1) * horizon / QUARTERS);
            format!("{error} t {low}..{high}")
        });
        let errors = std::iter::once(error.to_owned()).chain(quarters);
        if self.terms.is_none() {
            return errors.collect();
        }
        std::iter::once("loss".to_owned()).chain(errors).chain([VLB.to_owned()]).collect()
    }

    /// The unweighted error, to the whole and to the quarter of its timestep.
    fn belongs(&self, k: usize, t: Option<i64>) -> Vec<usize> {
        let first = match (&self.terms, k) {
            (None, _) => 0,
            (Some(_), 0) => return vec![0],
            (Some(_), 1) => 1,
            (Some(_), _) => return vec![2 + QUARTERS],
        };
        let quarter = t.and_then(|t| usize::try_from(t).ok()).map(|t| {
            // The last t whose quarter begins at or before it.
            (0..QUARTERS).rev().find(|q| q * self.levels.len() / QUARTERS <= t).unwrap_or(0)
        });
        std::iter::once(first).chain(quarter.map(|quarter| first + 1 + quarter)).collect()
    }
}
