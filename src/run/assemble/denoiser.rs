//! A model section as a denoiser: the exact scores, and adapters of what a network predicts.

use std::rc::Rc;

use crate::{
    core::{ClipX0, Denoiser, Divergent, FromV, FromX0, State},
    error::{Error, Result},
    exact::{Categorical, Component, ExactModel, Gaussian, Mixture},
    measure::{features::Extractors, instruments::Instruments},
    networks::predicts::Predicts,
    plan::{CellSpec, ExactKind, ExactSpec, ModelSpec},
};

/// The exact-score model of a section.
///
/// # Errors
/// A mixture that makes no sense, and a categorical model, which has no score.
pub(crate) fn exact_model(spec: &ExactSpec) -> Result<Rc<dyn ExactModel>> {
    if spec.kind == ExactKind::Categorical {
        return Err(Error::input("a categorical model has no score"));
    }
    if let Some(gaussian) = gaussian(spec) {
        return Ok(Rc::new(gaussian));
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
    let model = exact.map(exact_model).transpose()?;
    Instruments::new(spec, model, extractors)
}

/// The model as one Gaussian, if it is one.
pub(crate) fn gaussian(spec: &ExactSpec) -> Option<Gaussian> {
    let mean = spec.mean.first().copied().unwrap_or(0.0);
    match spec.kind {
        ExactKind::Gaussian => {
            Some(Gaussian { mean, std: spec.std.first().copied().unwrap_or(1.0) })
        }
        ExactKind::Dirac => Some(Gaussian::dirac(mean)),
        ExactKind::Mixture | ExactKind::Categorical => None,
    }
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
