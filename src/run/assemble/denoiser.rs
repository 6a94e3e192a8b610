//! A model section as a denoiser: the exact scores, and adapters of what a network predicts.

use std::rc::Rc;

use crate::{
    core::{ClipX0, Denoiser, Divergent, FromV, FromX0, Grid, Level, State},
    error::{Error, Result},
    exact::{Categorical, Component, ExactModel, Gaussian, Linear, Mixture},
    likelihood::{NonMarkovian, Weights},
    measure::{features::Extractors, instruments::Instruments},
    networks::predicts::Predicts,
    plan::{CellSpec, ExactKind, ExactSpec, ModelSpec},
    solvers::Variance,
};

/// The exact-score model of a section, on a grid and with a variance, to which shared weights are fitted.
///
/// # Errors
/// A mixture that makes no sense, and as [`shared_weights`].
pub(crate) fn exact_model(
    spec: &ExactSpec,
    grid: &Grid,
    variance: Variance,
) -> Result<Rc<dyn ExactModel>> {
    if spec.kind != ExactKind::Linear {
        return data(spec);
    }
    let data = gaussian_data(spec);
    Ok(Rc::new(match spec.shared {
        None => Linear::free(data),
        Some(weights) => Linear::shared(data, &shared_weights(weights, grid, variance)?),
    }))
}

/// The levels of a grid with the weights that a linear model is fitted to.
///
/// # Errors
/// A grid or a variance that has no such weights.
pub(crate) fn shared_weights(
    weights: Weights,
    grid: &Grid,
    variance: Variance,
) -> Result<Vec<(Level, f64)>> {
    if weights == Weights::One {
        let noisy = grid.levels().iter().filter(|level| !level.is_clean());
        return Ok(noisy.map(|&level| (level, 1.0)).collect());
    }
    NonMarkovian::admits(grid, variance)?;
    let Variance::Eta(eta) = variance else { unreachable!("invariant: no other is admitted") };
    Ok(NonMarkovian::new(grid, eta)?.gammas(weights))
}

/// The data of a section, which has the exact score.
///
/// # Errors
/// A mixture that makes no sense, and a categorical model, which has no score.
pub(crate) fn data(spec: &ExactSpec) -> Result<Rc<dyn ExactModel>> {
    if spec.kind == ExactKind::Categorical {
        return Err(Error::input("a categorical model has no score"));
    }
    if spec.kind != ExactKind::Mixture {
        return Ok(Rc::new(gaussian_data(spec)));
    }
    let weights = spec.weights.iter().copied().chain(std::iter::repeat(1.0));
    let components = spec.mean.iter().zip(&spec.std).zip(weights);
    let component = |((&mean, &std), weight)| Component { weight, mean: vec![mean], std };
    Ok(Rc::new(Mixture::new(components.map(component).collect())?))
}

/// The categorical model of a section.
///
/// # Errors
/// A table that makes no sense.
pub(crate) fn categorical_model(spec: &ExactSpec) -> Result<Categorical> {
    let &[_, variables, categories] = spec.shape.as_slice() else {
        return Err(Error::input(format!("model.shape is {:?}, not [1, D, K]", spec.shape)));
    };
    Ok(Categorical::new([variables, categories], &spec.table)?)
}

/// What a cell is measured with.
///
/// # Errors
/// An extractor or a reference that cannot be read, or that do not belong together.
pub fn instruments(spec: &CellSpec, extractors: &mut Extractors) -> Result<Instruments> {
    let mut measures = spec.metrics.iter().flat_map(|metrics| &metrics.measures);
    let drawn = measures.any(|measure| measure.needs_draws());
    let exact = spec.model.exact.as_ref().filter(|_| drawn);
    let model = exact.map(data).transpose()?;
    Instruments::new(spec, model, extractors)
}

/// The model as one Gaussian's exact score, if it is one.
pub(crate) fn gaussian(spec: &ExactSpec) -> Option<Gaussian> {
    match spec.kind {
        ExactKind::Gaussian | ExactKind::Dirac => Some(gaussian_data(spec)),
        ExactKind::Mixture | ExactKind::Linear | ExactKind::Categorical => None,
    }
}

/// The Gaussian that the first component is.
pub(crate) fn gaussian_data(spec: &ExactSpec) -> Gaussian {
    let mean = spec.mean.first().copied().unwrap_or(0.0);
    if spec.kind == ExactKind::Dirac {
        return Gaussian::dirac(mean);
    }
    Gaussian { mean, std: spec.std.first().copied().unwrap_or(1.0) }
}

/// What the manifest says about a model's output, as adapters around it.
pub(crate) fn adapt<S: State + 'static>(
    raw: Rc<dyn Denoiser<State = S>>,
    spec: &ModelSpec,
) -> Rc<dyn Denoiser<State = S>> {
    let eps: Rc<dyn Denoiser<State = S>> = match spec.prediction {
        Predicts::Eps => raw,
        Predicts::V => Rc::new(FromV(raw)),
        Predicts::X0 => Rc::new(FromX0(raw)),
    };
    if spec.clip_x0 {
        Rc::new(ClipX0 { inner: eps, low: -spec.clip_range, high: spec.clip_range })
    } else {
        eps
    }
}

/// A model whose divergence is known, with what the manifest says about its output. A clip is no part of it:
/// it bends the flow, and cells that clip have no likelihood.
pub(crate) fn adapt_divergent<S: State + 'static>(
    raw: Rc<dyn Divergent<State = S>>,
    spec: &ModelSpec,
) -> Rc<dyn Divergent<State = S>> {
    match spec.prediction {
        Predicts::Eps => raw,
        Predicts::V => Rc::new(FromV(raw)),
        Predicts::X0 => Rc::new(FromX0(raw)),
    }
}
