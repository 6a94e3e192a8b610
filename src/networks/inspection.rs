//! What a file or folder of weights is, and what stands between it and a run.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::data::file_md5;
use crate::networks::{
    architecture::known,
    checkpoint::{
        Checkpoint, CheckpointError, Container, Part, Reason, Role, Which, kind_name,
        names::Convention, published::published,
    },
    compiled::About,
    files::ModelFiles,
    open_error::OpenError,
    reading::{Reading, cast},
    scheduler_config::{SCHEDULER, SchedulerConfig},
    torchscript::Script,
    unet_config::UnetConfig,
    weights::{Differences, is_weight_type},
};

/// What can be said about weights without reading their numbers.
#[derive(Debug, Serialize)]
pub struct Inspection {
    /// The file of weights.
    pub file: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its format.
    pub container: String,
    /// Its SHA-256; of shards, of the list of theirs.
    pub sha256: String,
    /// The shards, if it is an index.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shards: Vec<PathBuf>,
    /// The name under which a file with its checksum was published, and what its weights are.
    pub published: Option<String>,
    /// The epoch that it states.
    pub epoch: Option<i64>,
    /// The training step that it states.
    pub step: Option<i64>,
    /// Names of what Python would call to read it, beside tensors.
    pub objects: Vec<String>,
    /// Its sets of weights.
    pub parts: Vec<PartInspection>,
    /// Why the set that is used is used.
    pub reason: Option<Reason>,
    /// Averages that are there and cannot be read or are not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub averages: Vec<String>,
    /// The `config.json` that counts.
    pub config: Option<PathBuf>,
    /// What its scheduler's file says: which file, and what it predicts for which levels.
    pub scheduler: String,
    /// Where the architecture is known from.
    pub known_from: Option<String>,
    /// The published network that it is.
    pub known: Option<&'static str>,
    /// The network, as `config.json` has it.
    pub architecture: Option<serde_json::Value>,
    /// The shape of its images.
    pub shape: Option<[i64; 3]>,
    /// What stands in the way of running it; nothing if it is null.
    pub problem: Option<Problem>,
    /// What a compiled package says about itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compiled: Option<About>,
    /// The tensors of the set that would be used, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensors: Option<Vec<TensorInspection>>,
    /// The network, if it was recognised.
    #[serde(skip)]
    pub network: Option<UnetConfig>,
}

/// What stands in the way of running it.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// It cannot be opened.
    #[error(transparent)]
    Unopened(#[from] OpenError),
    /// It is no network that can be run, in words.
    #[error("{0}")]
    Unfit(String),
}

impl Serialize for Problem {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One set of weights.
#[derive(Clone, Debug, Serialize)]
pub struct PartInspection {
    /// Where it is in the file.
    pub path: String,
    /// EMA, raw, or not stated.
    pub role: String,
    /// Whether it is the one that is used.
    pub used: bool,
    /// Number of tensors.
    pub tensors: usize,
    /// Number of parameters.
    pub parameters: i64,
    /// Tensors of each element type.
    pub element_types: BTreeMap<&'static str, usize>,
    /// What says what it is.
    pub sign: Option<String>,
    /// Counters and buffers that are no weights.
    pub left_out: Vec<String>,
    /// What becomes of its element types, where they are rare ones.
    pub cast: Option<String>,
    /// Whose names the tensors have.
    pub names: String,
    /// What all names begin with and what does not belong to the network.
    pub prefix: String,
}

/// One tensor.
#[derive(Clone, Debug, Serialize)]
pub struct TensorInspection {
    /// Its name in the file.
    pub name: String,
    /// Its shape in the file.
    pub shape: Vec<i64>,
    /// Its element type in the file.
    pub element_type: &'static str,
    /// Its name in diffusers' current convention, where that is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diffusers: Option<String>,
}

impl Inspection {
    /// Looks at a diffusers folder or a file of weights.
    ///
    /// What stands in the way of a run is part of the answer, not an error.
    ///
    /// # Errors
    /// A folder without weights, and a file that cannot be read or does not hold weights.
    pub fn of(path: &Path, which: Which, tensors: bool) -> Result<Self, OpenError> {
        let files = ModelFiles::find(path, which)?;
        let checkpoint = Checkpoint::open(&files.weights)?;
        let read = |source| CheckpointError::Read { path: files.weights.clone(), source };
        let bytes = std::iter::once(&files.weights)
            .chain(&checkpoint.shards)
            .map(|file| std::fs::metadata(file).map(|about| about.len()))
            .sum::<io::Result<u64>>()
            .map_err(read)?;
        let md5 = file_md5(&files.weights).map_err(read)?;
        let published = published(&md5).map(|known| {
            format!("{} of pesser/pytorch_diffusion ({} weights)", known.name, known.role)
        });
        let mut inspection = Self {
            bytes,
            container: match checkpoint.shards.len() {
                0 => checkpoint.container.to_string(),
                n => format!("{}, {n} shards", checkpoint.container),
            },
            sha256: checkpoint.sha256.clone(),
            shards: checkpoint.shards.clone(),
            published,
            epoch: checkpoint.epoch,
            step: checkpoint.step,
            objects: checkpoint.objects.iter().cloned().collect(),
            parts: vec![],
            reason: None,
            averages: vec![],
            config: files.config.clone(),
            known_from: None,
            scheduler: scheduler(path),
            known: None,
            architecture: None,
            shape: None,
            problem: None,
            compiled: None,
            tensors: None,
            network: None,
            file: files.weights.clone(),
        };
        if checkpoint.container == Container::TORCH_SCRIPT {
            inspection.program(tensors)?;
            return Ok(inspection);
        }
        if checkpoint.container == Container::PACKAGE {
            inspection.package();
            return Ok(inspection);
        }
        let reading = match Reading::of(&files, &checkpoint, which) {
            Ok(reading) => Some(reading),
            Err(error) => {
                inspection.problem = Some(error.into());
                None
            }
        };
        let unread =
            checkpoint.unread.iter().map(|unread| format!("`{}`: {}", unread.path, unread.why));
        let beside = files.averages.iter().map(|path| format!("{}, not read", path.display()));
        inspection.averages = unread.chain(beside).collect();
        let is_used =
            |part: &Part| reading.as_ref().is_some_and(|used| used.part.path == part.path);
        inspection.parts =
            checkpoint.parts.iter().map(|part| describe(part, is_used(part))).collect();
        if let Some(reading) = reading {
            inspection.reason = Some(reading.reason());
            inspection.network(&reading);
            inspection.tensors = tensors.then(|| list(reading.part));
        }
        Ok(inspection)
    }

    /// What a package says; its code is not loaded.
    fn package(&mut self) {
        match About::read(&self.file) {
            Ok(Some(about)) => {
                let side = |i: usize| i64::try_from(about.shape[i]).unwrap_or(i64::MAX);
                self.shape = Some([side(0), side(1), side(2)]);
                self.compiled = Some(about);
            }
            Ok(None) => {}
            Err(error) => self.problem = Some(OpenError::from(error).into()),
        }
    }

    fn program(&mut self, tensors: bool) -> Result<(), OpenError> {
        // A program's parameters are known once it is loaded; it is not run.
        let parameters = Script::open(&self.file, tch::Device::Cpu)?.parameters()?;
        let mut element_types = BTreeMap::new();
        for (_, _, kind) in &parameters {
            *element_types.entry(kind_name(*kind)).or_default() += 1;
        }
        self.parts = vec![PartInspection {
            path: String::new(),
            role: Role::Only.to_string(),
            used: true,
            tensors: parameters.len(),
            parameters: parameters.iter().map(|(_, shape, _)| shape.iter().product::<i64>()).sum(),
            element_types,
            sign: None,
            left_out: vec![],
            cast: None,
            names: Convention::Other.to_string(),
            prefix: String::new(),
        }];
        let info = |(name, shape, kind)| TensorInspection {
            name,
            shape,
            element_type: kind_name(kind),
            diffusers: None,
        };
        self.tensors = tensors.then(|| parameters.into_iter().map(info).collect());
        Ok(())
    }

    /// Recognises the network, and says what stands in its way.
    fn network(&mut self, reading: &Reading<'_>) {
        let part = reading.part;
        let shapes = part.shapes();
        let read = reading.files.read_config().map_err(OpenError::from);
        let config = match read.and_then(|read| reading.config(read)) {
            Ok(config) => config,
            Err(OpenError::Unrecognised { why, .. }) => {
                self.problem = Some(Problem::Unfit(why.to_string()));
                return;
            }
            Err(error) => {
                self.problem = Some(error.into());
                return;
            }
        };
        self.known_from = Some(reading.origin(&config));
        let differences = Differences::between(&config.tensors(), &shapes);
        let odd = part.tensors().find(|(.., kind)| !is_weight_type(*kind));
        let unfit = if !differences.is_empty() {
            Some(format!("it does not fit the config.json beside it:{}", differences.lines()))
        } else if let Some((name, _, kind)) = odd {
            Some(format!(
                "`{name}` has element type {}; supported: F16, BF16, F32, F64, F8_E4M3, F8_E5M2",
                kind_name(kind)
            ))
        } else if config.predicts_range().is_none() {
            let (out, image) = (config.out_channels, config.in_channels);
            Some(format!(
                "it predicts {out} channels of images with {image}: neither eps nor eps and a range"
            ))
        } else {
            None
        };
        self.problem = unfit.map(Problem::Unfit);
        self.known = known(&config).map(|known| known.name);
        self.shape = config.sample_size.map(|side| [config.in_channels, side, side]);
        self.architecture = serde_json::from_str(&config.to_json()).ok();
        self.network = Some(config);
    }

    /// The configuration of the network, if it was recognised and nothing stands in its way.
    pub fn runnable(&self) -> Option<&UnetConfig> {
        self.network.as_ref().filter(|_| self.problem.is_none())
    }
}

/// What the scheduler's file of a model says, what is wrong with it, or that there is none.
fn scheduler(path: &Path) -> String {
    match SchedulerConfig::find(path) {
        Ok(None) => {
            format!(
                "no {SCHEDULER}: eps on DDPM's linear schedule is assumed unless you say otherwise"
            )
        }
        Ok(Some(file)) => match SchedulerConfig::read(&file) {
            Ok(config) => format!("{}: {}", file.display(), config.whole()),
            Err(error) => error.to_string(),
        },
        Err(error) => error.to_string(),
    }
}

fn describe(part: &Part, used: bool) -> PartInspection {
    let translation = part.translation();
    let mut element_types = BTreeMap::new();
    for (_, _, kind) in part.tensors() {
        *element_types.entry(kind_name(kind)).or_default() += 1;
    }
    PartInspection {
        path: part.path.clone(),
        role: part.role.to_string(),
        used,
        tensors: part.tensors().count(),
        // A file may state any shape.
        parameters: part
            .tensors()
            .map(|(_, shape, _)| shape.iter().fold(1_i64, |n, &side| n.saturating_mul(side)))
            .fold(0, i64::saturating_add),
        element_types,
        sign: part.sign.clone(),
        left_out: part.left_out.clone(),
        cast: cast(part),
        names: translation.convention.to_string(),
        prefix: translation.prefix,
    }
}

fn list(part: &Part) -> Vec<TensorInspection> {
    let translation = part.translation();
    part.tensors()
        .map(|(name, shape, kind)| TensorInspection {
            name: name.to_owned(),
            shape: shape.to_owned(),
            element_type: kind_name(kind),
            diffusers: Some(translation.name(name)).filter(|other| other != name),
        })
        .collect()
}

/// A number with its thousands set apart.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
