//! What a network means, read from diffusers' `scheduler_config.json`.
//!
//! A file of weights does not say whether its network predicts eps, x0 or v, nor for which noise
//! levels; sampled on a guess it still makes images, only wrong ones. diffusers keeps this in the
//! configuration of the scheduler that the network was trained with. What belongs to the network is
//! read from it (prediction, a learned variance, betas, T, zero terminal SNR, clipping); what is the choice of that
//! pipeline's own sampler (spacing of the steps, order, variance) is shown and decides nothing
//! here. A value that is not implemented is refused by name, all of a file together.

mod reader;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use self::reader::Reader;
use crate::networks::{compiled::About, files::NETWORK_FOLDER, predicts::Predicts};
use crate::{data::file, limits};

/// What diffusers calls a scheduler's configuration.
pub const SCHEDULER: &str = "scheduler_config.json";

/// What diffusers calls the list of a pipeline's parts.
pub const PIPELINE: &str = "model_index.json";

/// The variance of a network that predicts its range, in diffusers' words.
const LEARNED_RANGE: &str = "learned_range";

/// Where a saved pipeline keeps its scheduler.
pub(super) const SCHEDULER_FOLDER: &str = "scheduler";

/// The rule behind the betas.
#[derive(Clone, Debug, PartialEq)]
pub enum Betas {
    /// `linear`.
    Linear,
    /// `scaled_linear`: linear in the roots.
    ScaledLinear,
    /// `squaredcos_cap_v2`: the cosine schedule of Nichol and Dhariwal 2021.
    Cosine,
    /// `sigmoid`.
    Sigmoid,
    /// `trained_betas`: a list.
    Listed(Vec<f64>),
}

impl Betas {
    /// A rule by the name that it has in manifests; a list has no rule.
    pub fn named(name: &str) -> Option<Self> {
        let rules = [Self::Linear, Self::ScaledLinear, Self::Cosine, Self::Sigmoid];
        rules.into_iter().find(|rule| rule.name() == name)
    }

    /// The name that it has in manifests.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::ScaledLinear => "scaled-linear",
            Self::Cosine => "cosine",
            Self::Sigmoid => "sigmoid",
            Self::Listed(_) => "betas",
        }
    }
}

/// What a scheduler's file says about the network beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct SchedulerConfig {
    /// The scheduler's class.
    pub class: String,
    /// What the network predicts.
    pub predicts: Predicts,
    /// The rule behind the betas.
    pub betas: Betas,
    /// The first beta, of rules that have one.
    pub beta_start: f64,
    /// The last beta, of rules that have one.
    pub beta_end: f64,
    /// T, the number of timesteps.
    pub horizon: usize,
    /// Whether the schedule is rescaled to alpha_bar = 0 at its last timestep.
    pub zero_terminal_snr: bool,
    /// The bound of the predicted x0, if it is clipped.
    pub clip: Option<f64>,
    /// Whether the network predicts, in as many channels again, where the log-variance of a step lies
    /// between its two bounds: `variance_type = "learned_range"`.
    pub learned_range: bool,
    /// Choices of the pipeline's own sampler, `field = value`: not the network's, not used here.
    pub own_sampler: Vec<String>,
    /// Fields that are not known here.
    pub unknown: Vec<String>,
}

/// Why a scheduler's file could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SchedulerError {
    /// The file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a JSON object.
    #[error("{} is not a JSON object: {message}; restore it or save the model again", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        message: String,
    },
    /// The pipeline names a scheduler whose file is missing.
    #[error(
        "{} names a scheduler ({class}), and there is no {SCHEDULER} beside it or in {SCHEDULER_FOLDER}/: \
         restore it",
        path.display()
    )]
    Missing {
        /// The pipeline's `model_index.json`.
        path: PathBuf,
        /// The scheduler's class.
        class: String,
    },
    /// The file describes what is not implemented.
    #[error("{} describes what is not supported:{}", path.display(), bullets(problems))]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Every field that stands in the way.
        problems: Vec<Unsupported>,
    },
}

fn bullets(problems: &[Unsupported]) -> String {
    problems.iter().fold(String::new(), |text, problem| text + "\n  " + &problem.to_string())
}

/// A field whose value is not implemented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// The field.
    pub field: &'static str,
    /// Its value, as JSON.
    pub value: String,
    /// What would be accepted.
    pub supported: String,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is {}; supported: {}", self.field, self.value, self.supported)
    }
}

impl SchedulerConfig {
    /// The scheduler's file of a model: a network's folder, a pipeline, or a file of weights.
    ///
    /// It stands beside the network, in the pipeline's `scheduler` folder, or beside its
    /// `model_index.json`; a network inside a pipeline is looked up from its own folder too. A compiled
    /// package has it inside.
    ///
    /// # Errors
    /// A pipeline whose `model_index.json` names a scheduler that is not there.
    pub fn find(model: &Path) -> Result<Option<PathBuf>, SchedulerError> {
        if in_package(model).is_some() {
            return Ok(Some(model.to_owned()));
        }
        let folder = if model.is_dir() { model } else { model.parent().unwrap_or(Path::new("")) };
        let mut folders = vec![folder.to_owned()];
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with(NETWORK_FOLDER)
            && let Some(pipeline) = folder.parent()
        {
            folders.push(pipeline.to_owned());
        }
        let places = folders
            .iter()
            .flat_map(|f| [f.join(SCHEDULER), f.join(SCHEDULER_FOLDER).join(SCHEDULER)]);
        if let Some(found) = places.into_iter().find(|path| path.is_file()) {
            return Ok(Some(found));
        }
        for folder in &folders {
            let path = folder.join(PIPELINE);
            if path.is_file()
                && let Value::Object(parts) = Value::Object(object(&path)?)
                && let Some(class) = parts.get("scheduler").and_then(|part| part.get(1)?.as_str())
            {
                return Err(SchedulerError::Missing { class: class.to_owned(), path });
            }
        }
        Ok(None)
    }

    /// What DDPM's networks were trained for (Ho et al. 2020, section 4); nothing clipped.
    pub fn ddpm() -> Self {
        Self {
            class: "DDPMScheduler".to_owned(),
            predicts: Predicts::Eps,
            betas: Betas::Linear,
            beta_start: 1e-4,
            beta_end: 0.02,
            horizon: 1000,
            zero_terminal_snr: false,
            clip: None,
            learned_range: false,
            own_sampler: vec![],
            unknown: vec![],
        }
    }

    /// The class that a file names, whatever else is in it.
    ///
    /// # Errors
    /// A file that cannot be read or is no JSON object.
    pub fn class_of(path: &Path) -> Result<String, SchedulerError> {
        let class = object(path)?.get("_class_name").and_then(Value::as_str).map(str::to_owned);
        Ok(class.unwrap_or_else(|| "DDPMScheduler".to_owned()))
    }

    /// Reads a `scheduler_config.json`.
    ///
    /// # Errors
    /// A file that cannot be read, is no JSON object, or asks for what is not implemented (all of it
    /// is listed).
    pub fn read(path: &Path) -> Result<Self, SchedulerError> {
        let mut reader = Reader { fields: object(path)?, problems: vec![] };
        let config = reader.config();
        if reader.problems.is_empty() {
            return Ok(config);
        }
        Err(SchedulerError::Unsupported { path: path.to_owned(), problems: reader.problems })
    }

    /// All of it in a line, what was left to the pipeline's own sampler included.
    pub fn whole(&self) -> String {
        match self.own_sampler.as_slice() {
            [] => self.to_string(),
            own => format!("{self}; its pipeline's own sampler: {} (not used)", own.join(", ")),
        }
    }

    /// The text of a `scheduler_config.json` that diffusers' `DDPMScheduler` opens, and that reads as
    /// this.
    pub fn to_json(&self) -> String {
        let listed = if let Betas::Listed(betas) = &self.betas { Some(betas) } else { None };
        let mut fields = serde_json::json!({
            "_class_name": "DDPMScheduler",
            "beta_end": self.beta_end,
            "beta_schedule": match self.betas {
                Betas::Linear | Betas::Listed(_) => "linear",
                Betas::ScaledLinear => "scaled_linear",
                Betas::Cosine => "squaredcos_cap_v2",
                Betas::Sigmoid => "sigmoid",
            },
            "beta_start": self.beta_start,
            "clip_sample": self.clip.is_some(),
            "clip_sample_range": self.clip.unwrap_or(1.0),
            "num_train_timesteps": self.horizon,
            "prediction_type": match self.predicts {
                Predicts::Eps => "epsilon",
                Predicts::X0 => "sample",
                Predicts::V => "v_prediction",
            },
            "rescale_betas_zero_snr": self.zero_terminal_snr,
            "thresholding": false,
            "trained_betas": listed,
        });
        if self.learned_range {
            fields["variance_type"] = LEARNED_RANGE.into();
        }
        format!("{fields:#}\n")
    }
}

/// The text of a `model_index.json`, with which diffusers' `DDPMPipeline` opens a folder that holds
/// the network and a scheduler of that class side by side.
pub fn pipeline_json(class: &str) -> String {
    let fields = serde_json::json!({
        "_class_name": "DDPMPipeline",
        "scheduler": ["diffusers", class],
        "unet": ["diffusers", "UNet2DModel"],
    });
    format!("{fields:#}\n")
}

impl fmt::Display for SchedulerConfig {
    /// `predicts v; cosine, T = 1000; x0 not clipped`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let predicts = self.predicts.name();
        let (start, end) = (self.beta_start, self.beta_end);
        write!(f, "predicts {predicts}")?;
        if self.learned_range {
            f.write_str(" and the range of its variance")?;
        }
        f.write_str("; ")?;
        match &self.betas {
            Betas::Linear => write!(f, "linear betas {start} to {end}")?,
            Betas::ScaledLinear => write!(f, "scaled-linear betas {start} to {end}")?,
            Betas::Cosine => f.write_str("cosine")?,
            Betas::Sigmoid => write!(f, "sigmoid betas {start} to {end}")?,
            Betas::Listed(_) => f.write_str("betas listed")?,
        }
        write!(f, ", T = {}", self.horizon)?;
        if self.zero_terminal_snr {
            f.write_str(", zero terminal SNR")?;
        }
        match self.clip {
            None => f.write_str("; x0 not clipped"),
            Some(bound) => write!(f, "; x0 clipped to [-{bound}, {bound}]"),
        }
    }
}

fn object(path: &Path) -> Result<Map<String, Value>, SchedulerError> {
    let text = match in_package(path) {
        Some(text) => text,
        None => file::read_text(path, limits::JSON)
            .map_err(|source| SchedulerError::Read { path: path.to_owned(), source })?,
    };
    let syntax = |message: String| SchedulerError::Syntax { path: path.to_owned(), message };
    match serde_json::from_str(&text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(syntax("it holds another value".to_owned())),
        Err(error) => Err(syntax(error.to_string())),
    }
}

/// The text of the file that a compiled package was made with; what is wrong with the package is said where
/// it is opened.
fn in_package(path: &Path) -> Option<String> {
    if !path.is_file() {
        return None;
    }
    About::read(path).ok().flatten()?.scheduler
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &Value) -> Result<SchedulerConfig, SchedulerError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SCHEDULER);
        std::fs::write(&path, fields.to_string()).unwrap();
        SchedulerConfig::read(&path)
    }

    fn problems(fields: &Value) -> Vec<String> {
        match read(fields).unwrap_err() {
            SchedulerError::Unsupported { problems, .. } => {
                problems.iter().map(Unsupported::to_string).collect()
            }
            other => panic!("{other}"),
        }
    }

    #[test]
    fn what_is_absent_has_the_default_of_its_class() {
        let ddpm = read(&serde_json::json!({ "_class_name": "DDPMScheduler" })).unwrap();
        assert_eq!(
            ddpm.to_string(),
            "predicts eps; linear betas 0.0001 to 0.02, T = 1000; x0 clipped to [-1, 1]"
        );
        let heun = read(&serde_json::json!({ "_class_name": "HeunDiscreteScheduler" })).unwrap();
        assert_eq!(
            heun.to_string(),
            "predicts eps; linear betas 0.00085 to 0.012, T = 1000; x0 not clipped"
        );
    }

    #[test]
    fn what_is_written_reads_as_the_same() {
        let all = [Betas::Linear, Betas::ScaledLinear, Betas::Cosine, Betas::Sigmoid];
        for betas in all.into_iter().chain([Betas::Listed(vec![0.1, 0.2])]) {
            for predicts in [Predicts::Eps, Predicts::X0, Predicts::V] {
                let config = SchedulerConfig {
                    class: "DDPMScheduler".to_owned(),
                    predicts,
                    betas: betas.clone(),
                    beta_start: 0.001,
                    beta_end: 0.03,
                    horizon: 2,
                    zero_terminal_snr: predicts == Predicts::V,
                    clip: (predicts == Predicts::X0).then_some(1.5),
                    learned_range: predicts == Predicts::Eps,
                    own_sampler: vec![],
                    unknown: vec![],
                };
                let written: Value = serde_json::from_str(&config.to_json()).unwrap();
                assert_eq!(read(&written).unwrap(), config);
            }
        }
    }

    #[test]
    fn the_choices_of_a_sampler_are_told_from_the_network() {
        let config = read(&serde_json::json!({
            "_class_name": "UniPCMultistepScheduler", "timestep_spacing": "linspace",
            "steps_offset": 1, "solver_order": 3, "brand_new": 7, "_diffusers_version": "9",
        }))
        .unwrap();
        assert_eq!(
            config.own_sampler,
            ["solver_order = 3", "steps_offset = 1", "timestep_spacing = \"linspace\""]
        );
        assert_eq!(config.unknown, ["brand_new = 7"]);
    }

    #[test]
    fn a_learned_range_is_the_networks_and_a_fixed_variance_the_samplers() {
        let of = |kind: &str| read(&serde_json::json!({ "variance_type": kind }));
        let config = of("learned_range").unwrap();
        assert!(config.learned_range && config.own_sampler.is_empty());
        assert!(config.to_string().starts_with("predicts eps and the range of its variance; "));
        let config = of("fixed_small").unwrap();
        assert!(!config.learned_range);
        assert_eq!(config.own_sampler, ["variance_type = \"fixed_small\""]);
        // The log-variance itself: taken for a range, it would give other samples.
        let found = problems(&serde_json::json!({ "variance_type": "learned" }));
        assert_eq!(
            found,
            ["`variance_type` is \"learned\"; supported: learned_range, or a fixed one"]
        );
    }

    #[test]
    fn what_is_not_implemented_is_refused_by_name_all_of_it() {
        let found = problems(&serde_json::json!({
            "_class_name": "FlowMatchEulerDiscreteScheduler", "prediction_type": "flow_prediction",
            "beta_schedule": "laplace", "thresholding": true, "use_flow_sigmas": true,
            "num_train_timesteps": 0.5, "trained_betas": null, "clip_sample_range": -1,
        }));
        let named: Vec<&str> = found.iter().map(|line| line.split('`').nth(1).unwrap()).collect();
        assert_eq!(
            named,
            [
                "_class_name",
                "prediction_type",
                "num_train_timesteps",
                "beta_schedule",
                "clip_sample_range",
                "thresholding",
                "use_flow_sigmas"
            ]
        );
        let found =
            problems(&serde_json::json!({ "trained_betas": [0.1], "num_train_timesteps": 2 }));
        assert_eq!(
            found,
            ["`trained_betas` is \"a list of 1\"; supported: num_train_timesteps of them, 2"]
        );
    }

    #[test]
    fn a_pipeline_is_searched_from_any_of_its_parts() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("unet")).unwrap();
        std::fs::create_dir_all(at("scheduler")).unwrap();
        assert!(SchedulerConfig::find(folder.path()).unwrap().is_none());
        std::fs::write(at(PIPELINE), pipeline_json("DDPMScheduler")).unwrap();
        let missing = SchedulerConfig::find(&at("unet")).unwrap_err().to_string();
        assert!(missing.contains("names a scheduler (DDPMScheduler)"), "{missing}");
        let inner = at("scheduler").join(SCHEDULER);
        std::fs::write(&inner, "{}").unwrap();
        for place in ["", "unet", "unet/diffusion_pytorch_model.safetensors", "net.ckpt"] {
            assert_eq!(SchedulerConfig::find(&at(place)).unwrap(), Some(inner.clone()), "{place}");
        }
        let outer = at(SCHEDULER);
        std::fs::write(&outer, "{}").unwrap();
        assert_eq!(SchedulerConfig::find(folder.path()).unwrap(), Some(outer));
    }
}
