//! Which files a model is made of.

use std::path::{Path, PathBuf};

use crate::networks::{
    checkpoint::{Checkpoint, CheckpointError, Part, Reason, Role, Which, is_average},
    open_error::OpenError,
    unet_config::{ConfigError, UnetConfig},
};

/// What diffusers calls a network's configuration.
pub const CONFIG: &str = "config.json";

/// What diffusers calls the weights, the first before the others; an index names its shards.
pub const WEIGHTS: [&str; 6] = [
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model.bin",
    "diffusion_pytorch_model.bin.index.json",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.safetensors.index.fp16.json",
];

/// Where a saved pipeline keeps its network.
pub const NETWORK_FOLDER: &str = "unet";

/// Where diffusers' training scripts keep its average.
pub const AVERAGE_FOLDER: &str = "unet_ema";

/// A file of weights, and the configuration beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFiles {
    /// `config.json`; a folder has one, a single file may.
    pub config: Option<PathBuf>,
    /// The weights, of any container; the index of shards.
    pub weights: PathBuf,
    /// What the folder is to others beside it.
    pub role: Role,
    /// Files beside it that are averages by their names and are not read.
    pub averages: Vec<PathBuf>,
}

impl ModelFiles {
    /// The files of a folder that diffusers saved (a network, a pipeline or a checkpoint of its
    /// training scripts), or a single file.
    ///
    /// # Errors
    /// A folder without weights, and a path where nothing is.
    pub fn find(path: &Path, which: Which) -> Result<Self, OpenError> {
        if !path.is_dir() {
            let config = Some(folder_of(path).join(CONFIG)).filter(|config| config.is_file());
            let averages = averages_of_file(path);
            return Ok(Self { config, weights: path.to_owned(), role: Role::Only, averages });
        }
        let [network, average] = [NETWORK_FOLDER, AVERAGE_FOLDER].map(|name| path.join(name));
        if path.join(CONFIG).exists() {
            return Self::in_folder(path);
        }
        if average.is_dir() && which == Which::Ema {
            let unread = |error| OpenError::AverageFolder { folder: average.clone(), error };
            return Self::in_folder(&average).map_err(|error| unread(Box::new(error)));
        }
        if average.is_dir() || network.join(CONFIG).exists() {
            // Its average was not asked for, or there is none.
            let averages = if which == Which::Raw { vec![] } else { averages_in(path) };
            let files = Self::in_folder(&network)?;
            return Ok(Self { averages: [files.averages, averages].concat(), ..files });
        }
        Self::in_folder(path)
    }

    fn in_folder(folder: &Path) -> Result<Self, OpenError> {
        let beside = folder_of(folder).join(AVERAGE_FOLDER);
        let named = |name: &str| folder.file_name().is_some_and(|found| found == name);
        let role = match () {
            () if named(AVERAGE_FOLDER) => Role::Ema,
            () if named(NETWORK_FOLDER) && beside.is_dir() => Role::Raw,
            () => Role::Only,
        };
        let file = WEIGHTS.iter().map(|name| folder.join(name)).find(|file| file.is_file());
        let file = file.or_else(|| only_weights_in(folder));
        // Its configuration is what makes a folder a model: what is wrong with it is said first.
        let config = folder.join(CONFIG);
        match file {
            Some(weights) => {
                let mut averages = if role == Role::Ema { vec![] } else { averages_in(folder) };
                averages.extend((role == Role::Raw).then_some(beside));
                Ok(Self { config: Some(config), weights, role, averages })
            }
            None if config.exists() => {
                UnetConfig::read(&config)?;
                Err(OpenError::NoWeights { folder: folder.to_owned() })
            }
            None => Err(OpenError::NoModel { folder: folder.to_owned() }),
        }
    }

    /// What its `config.json` says, if it has one.
    ///
    /// # Errors
    /// As [`UnetConfig::read`].
    pub fn read_config(&self) -> Result<Option<UnetConfig>, ConfigError> {
        self.config.as_deref().map(UnetConfig::read).transpose()
    }

    /// The set of weights that is wanted of an opened file.
    ///
    /// # Errors
    /// As [`Checkpoint::choose`].
    pub fn choose<'a>(
        &self,
        checkpoint: &'a Checkpoint,
        which: Which,
    ) -> Result<&'a Part, CheckpointError> {
        match checkpoint.choose(which) {
            // The folder says what the file does not.
            Err(CheckpointError::NoPart { .. }) if self.role == Role::Raw => {
                checkpoint.choose(Which::Ema)
            }
            chosen => chosen,
        }
    }

    /// Why [`ModelFiles::choose`] takes a set.
    pub fn reason(&self, checkpoint: &Checkpoint, part: &Part, which: Which) -> Reason {
        match (self.role, part.role, which) {
            (Role::Ema, Role::Only, _) => {
                let text = format!("the average, as the folder {AVERAGE_FOLDER} says");
                Reason { text, raw_too: true }
            }
            (Role::Raw, Role::Only, Which::Raw) => Reason::of("raw weights were asked for"),
            (Role::Raw, Role::Only, Which::Ema) => Reason::of(format!(
                "the folder {NETWORK_FOLDER} was named; {AVERAGE_FOLDER} is beside it"
            )),
            _ => checkpoint.reason(part, which),
        }
    }
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if path.file_name().is_some() => parent.to_owned(),
        _ => path.join(".."),
    }
}

/// What files of weights end in.
const ENDINGS: [&str; 6] = ["safetensors", "bin", "pt", "pth", "ckpt", "th"];

/// Files and folders of a folder whose names say that they are averages.
fn averages_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return vec![] };
    let weights = |path: &PathBuf| {
        path.is_dir()
            || path.extension().and_then(|e| e.to_str()).is_some_and(|e| ENDINGS.contains(&e))
    };
    let average = |path: &PathBuf| {
        path.file_stem().and_then(|name| name.to_str()).is_some_and(is_average) && weights(path)
    };
    let mut found: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(average).collect();
    found.sort();
    found
}

/// The one file of weights of a folder, whatever it is called; none where there are several.
fn only_weights_in(folder: &Path) -> Option<PathBuf> {
    let is_weights = |path: &PathBuf| {
        let ending = path.extension().and_then(|ending| ending.to_str());
        path.is_file() && ending.is_some_and(|ending| ENDINGS.contains(&ending))
    };
    let entries = std::fs::read_dir(folder).ok()?;
    let mut files = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_weights);
    let only = files.next()?;
    (files.next().is_none() && folder.join(CONFIG).is_file()).then_some(only)
}

/// The averages beside a single file that have its name but for the word: `model_ema.pt`.
fn averages_of_file(path: &Path) -> Vec<PathBuf> {
    let bare = |path: &Path| -> Option<String> {
        let name = path.file_stem()?.to_str()?.to_lowercase();
        let words = name.split(|c: char| !c.is_alphanumeric());
        Some(words.filter(|word| !word.is_empty() && !is_average(word)).collect())
    };
    let own = bare(path);
    if path.file_stem().and_then(|name| name.to_str()).is_some_and(is_average) {
        return vec![];
    }
    let folder = folder_of(path);
    let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
    averages_in(&folder).into_iter().filter(|p| p.is_file() && bare(p) == own).collect()
}
