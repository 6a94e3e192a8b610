//! The files that cells name: where they are, and which of them this machine lacks.

use std::path::PathBuf;

use crate::metrics;
use crate::{
    diagnostic::Diagnostic,
    error::{Error, Result},
    measure::{features, published::is_published},
    networks::{
        compiled::About,
        home,
        hub::{self, HubModel},
        placement::Precision,
        predicts::Predicts,
        scheduler_config::{Betas, SchedulerConfig, SchedulerError},
    },
    plan::{Cell, MetricsSpec, ModelSpec, Rule, ScheduleSpec, stated::Stated},
};

/// Where a model's weights are on this machine: a folder or a file.
///
/// # Errors
/// A path that does not exist, and a model of the Hub that was not downloaded.
pub fn weights_path(source: &str) -> Result<PathBuf> {
    if let Some(model) = hub_model(source)? {
        return model.cached().ok_or_else(|| {
            Error::input(format!("model.source = \"{source}\" was not downloaded"))
        });
    }
    let path = home::locate(source);
    if path.exists() {
        return Ok(path);
    }
    Err(Error::input(format!(
        "model.source = \"{source}\" does not exist ({})",
        home::looked(source)
    )))
}

/// What the scheduler's file of a model says about its network.
///
/// Absent if the model is not on this machine, which is reported elsewhere.
///
/// # Errors
/// What is wrong with the file.
pub(crate) fn stated(source: &str) -> std::result::Result<Option<Stated>, String> {
    let Ok(path) = weights_path(source) else { return Ok(None) };
    let read = || {
        let Some(file) = SchedulerConfig::find(&path)? else { return Ok(None) };
        SchedulerConfig::read(&file).map(|config| Some((file, config)))
    };
    let found = read().map_err(|error: SchedulerError| error.to_string())?;
    Ok(found.map(|(file, config)| Stated {
        file: file.display().to_string(),
        summary: config.whole(),
        prediction: config.predicts,
        clip: config.clip,
        learned_range: config.learned_range,
        schedule: schedule_of(&config),
        unknown: config.unknown,
    }))
}

/// The precision that a model was compiled for; none of weights, which run in any.
///
/// What is wrong with a package is reported where it is opened.
pub(crate) fn precision(source: &str) -> Option<Precision> {
    let path = weights_path(source).ok()?;
    if !path.is_file() {
        return None;
    }
    Some(About::read(&path).ok()??.precision)
}

/// A scheduler's levels in the words of a manifest.
fn schedule_of(config: &SchedulerConfig) -> ScheduleSpec {
    let ranged = !matches!(config.betas, Betas::Cosine | Betas::Listed(_));
    ScheduleSpec {
        kind: match config.betas {
            Betas::Linear => Rule::Linear,
            Betas::ScaledLinear => Rule::ScaledLinear,
            Betas::Cosine => Rule::Cosine,
            Betas::Sigmoid => Rule::Sigmoid,
            Betas::Listed(_) => Rule::Listed,
        },
        beta_start: ranged.then_some(config.beta_start),
        beta_end: ranged.then_some(config.beta_end),
        betas: if let Betas::Listed(betas) = &config.betas { betas.clone() } else { vec![] },
        horizon: config.horizon,
        zero_terminal_snr: config.zero_terminal_snr,
    }
}

/// The scheduler's file of a network that was trained like this, for every reader of its folder.
pub(crate) fn scheduler_of(
    spec: &ScheduleSpec,
    predicts: Predicts,
    learned_range: bool,
) -> SchedulerConfig {
    SchedulerConfig {
        predicts,
        learned_range,
        betas: match spec.kind {
            // Rounding to f32 has no name of its own there.
            Rule::Linear | Rule::LinearF32 => Betas::Linear,
            Rule::ScaledLinear => Betas::ScaledLinear,
            Rule::Cosine => Betas::Cosine,
            Rule::Sigmoid => Betas::Sigmoid,
            Rule::Listed => Betas::Listed(spec.betas.clone()),
        },
        beta_start: spec.beta_start.unwrap_or(1e-4),
        beta_end: spec.beta_end.unwrap_or(0.02),
        horizon: spec.horizon,
        zero_terminal_snr: spec.zero_terminal_snr,
        ..SchedulerConfig::ddpm()
    }
}

/// The model of the Hub that a source names, if it names one.
///
/// # Errors
/// `hf:` without an owner and a name.
pub fn hub_model(source: &str) -> Result<Option<HubModel>> {
    if source.starts_with(hub::SCHEME) { Ok(Some(source.parse()?)) } else { Ok(None) }
}

/// The models of the Hub that cells name and that this machine lacks.
///
/// # Errors
/// As [`hub_model`].
pub fn to_download<'a>(specs: impl Iterator<Item = &'a ModelSpec>) -> Result<Vec<HubModel>> {
    let mut models: Vec<HubModel> = vec![];
    for spec in specs.filter(|spec| spec.exact.is_none()) {
        if let Some(model) = hub_model(&spec.source)?
            && model.is_incomplete()
            && !models.contains(&model)
        {
            models.push(model);
        }
    }
    Ok(models)
}

/// The files that a cell needs and this machine lacks, and samples for which its features cannot be
/// computed, each as a problem at its place.
pub fn missing_files(cell: &Cell) -> Vec<Diagnostic> {
    let mut problems = vec![];
    let spec = &cell.spec;
    // What is on the Hub is downloaded by the run.
    if spec.model.exact.is_none()
        && !spec.model.source.starts_with(hub::SCHEME)
        && let Err(error) = weights_path(&spec.model.source)
    {
        problems.push(Diagnostic::error(cell.locate("model.source"), error.to_string()).help(
            "weights are a diffusers folder, a file (safetensors, .ckpt, .pth, TorchScript, .pt2), or \
             `hf:owner/name`, which is downloaded; the CIFAR-10 weights of the paper are \
             ema_diffusion_cifar10_model/model-790000.ckpt of pesser/pytorch_diffusion (md5 \
             1fa350b952534ae442b1d5235cce5cd3); embedded: models/cifar10",
        ));
    }
    let compared = spec.metrics.as_ref().is_some_and(|metrics| metrics.features.is_some());
    if let (true, Some(exact)) = (compared, &spec.model.exact)
        && exact.shape.first() != Some(&3)
    {
        let message = format!("features are those of colour images, not of {:?}", exact.shape);
        let help = "`shape = [3, H, W]`, or no [metrics]";
        problems.push(Diagnostic::error(cell.locate("model.shape"), message).help(help));
    }
    problems.extend(spec.metrics.iter().flat_map(|metrics| missing_measures(cell, metrics)));
    problems
}

/// The features and the references that are not here, and what they cannot give.
fn missing_measures(cell: &Cell, metrics: &MetricsSpec) -> Vec<Diagnostic> {
    let mut problems = vec![];
    let mut report = |path: &str, message: String, help: &str| {
        problems.push(Diagnostic::error(cell.locate(path), message).help(help));
    };
    for (at, features, reference) in metrics.networks() {
        let (path, reference_path) =
            (format!("metrics.{at}features"), format!("metrics.{at}reference"));
        match features::locate(features) {
            Err(error) => report(
                &path,
                error.to_string(),
                "FID needs these weights; a folder like models/cifar10-features needs no download, \
                 and its distance is not called FID",
            ),
            Ok(file) if !file.exists() => report(
                &path,
                format!("{path} = \"{features}\" does not exist"),
                "features are computed by folders like models/cifar10-features, by `inception`, or \
                 by a file of weights",
            ),
            Ok(_) => {}
        }
        let Some(reference) = reference else { continue };
        let found = home::locate(reference);
        if !found.exists() {
            report(
                &reference_path,
                format!("{reference_path} = \"{reference}\" does not exist"),
                &format!(
                    "`ddim stats --data SET --features {features} --out {reference}` writes it from \
                     a data set"
                ),
            );
        } else if metrics.asks_for(&metrics::KID) && is_published(&found) {
            report(
                "metrics.measures",
                format!(
                    "`kid` compares features, and {reference} holds a mean and a covariance alone"
                ),
                "a reference written by `ddim stats --out FILE.safetensors` keeps features",
            );
        }
    }
    problems
}
