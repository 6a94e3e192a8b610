//! A model section as a denoiser: the exact scores, and adapters of what a network predicts.

use std::rc::Rc;

use crate::{
    core::{ClipX0, Denoiser, FromV, FromX0, State},
    error::{Error, Result},
    exact::{Component, ExactModel, Gaussian, Mixture},
    measure::{features::Extractors, instruments::Instruments},
    networks::predicts::Predicts,
    plan::{CellSpec, ModelSpec},
};

/// The exact-score model of a section.
///
/// # Errors
/// A name that does not exist, or a mixture that makes no sense.
pub(crate) fn exact_model(spec: &ModelSpec) -> Result<Rc<dyn ExactModel>> {
    if let Some(gaussian) = gaussian(spec) {
        return Ok(Rc::new(gaussian));
    }
    Ok(match (spec.source.as_str(), &spec.exact) {
        ("mixture", Some(exact)) => {
            let weights = exact.weights.iter().copied().chain(std::iter::repeat(1.0));
            let components = exact.mean.iter().zip(&exact.std).zip(weights);
            Rc::new(Mixture::new(
                components
                    .map(|((&mean, &std), weight)| Component { weight, mean: vec![mean], std })
                    .collect(),
            )?)
        }
        (other, _) => {
            return Err(Error::input(format!("there is no exact-score model `{other}`")));
        }
    })
}

/// What a cell is measured with.
///
/// # Errors
/// An extractor or a reference that cannot be read, or that do not belong together.
pub fn instruments(spec: &CellSpec, extractors: &mut Extractors) -> Result<Instruments> {
    let mut measures = spec.metrics.iter().flat_map(|metrics| &metrics.measures);
    let drawn = measures.any(|measure| measure.needs_draws());
    let model = drawn.then(|| exact_model(&spec.model)).transpose()?;
    Instruments::new(spec, model, extractors)
}

/// The exact-score model that is one Gaussian, if it is.
pub(crate) fn gaussian(spec: &ModelSpec) -> Option<Gaussian> {
    let exact = spec.exact.as_ref()?;
    let mean = exact.mean.first().copied().unwrap_or(0.0);
    match spec.source.as_str() {
        "gaussian" => Some(Gaussian { mean, std: exact.std.first().copied().unwrap_or(1.0) }),
        "dirac" => Some(Gaussian::dirac(mean)),
        _ => None,
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
