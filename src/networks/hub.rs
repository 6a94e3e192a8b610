//! Models of the Hugging Face Hub, by name.
//!
//! `hf:owner/name` is a repository, `hf:owner/name/path` a folder or a file of it, and
//! `...@revision` a branch, tag or commit. Files are kept in the cache that the Hub's own tools
//! share (`HF_HOME`, or `~/.cache/huggingface`), and what is there is not asked for again: a name
//! keeps its meaning until another revision is asked for. `HF_ENDPOINT` names another server,
//! `HF_TOKEN` (or a login) opens what is private, and `HF_HUB_OFFLINE` forbids to ask.

mod client;

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use hf_hub::{Cache, Repo, RepoType};

use self::client::{Client, Failure};
use crate::networks::{
    checkpoint::{CheckpointError, shards},
    files::{AVERAGE_FOLDER, CONFIG, NETWORK_FOLDER, WEIGHTS},
    scheduler_config::{PIPELINE, SCHEDULER, SCHEDULER_FOLDER},
};

/// What names of the Hub begin with.
pub const SCHEME: &str = "hf:";

/// The revision unless another is named.
const MAIN: &str = "main";

/// Why there is no model of the Hub.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The name is not one of a model.
    #[error(
        "`{name}` names no repository; write hf:owner/name, hf:owner/name/path or ...@revision"
    )]
    Name {
        /// What was written.
        name: String,
    },
    /// The Hub does not show it.
    #[error(
        "{model}: the Hub shows no such repository or revision (status {status}): check the name; \
         for a private one, log in with the Hub's own tool or set HF_TOKEN"
    )]
    Unknown {
        /// The model.
        model: HubModel,
        /// The HTTP status.
        status: u16,
    },
    /// The Hub refuses to hand it out.
    #[error(
        "{model}: the Hub refuses it (status {status}); accept the terms on its page, and log in \
         with the Hub's own tool or set HF_TOKEN"
    )]
    Forbidden {
        /// The model.
        model: HubModel,
        /// The HTTP status.
        status: u16,
    },
    /// There is no answer, or no good one.
    #[error(
        "{model}: cannot download it: {problem}; on a machine with a network the same command \
         fills the folder {}, which can be copied here (HF_ENDPOINT names a mirror)",
        cache.display()
    )]
    Unreachable {
        /// The model.
        model: HubModel,
        /// What the client says.
        problem: String,
        /// The folder of the cache.
        cache: PathBuf,
    },
    /// Asking was forbidden.
    #[error(
        "{model} is not in the folder {}, and HF_HUB_OFFLINE forbids to download it",
        cache.display()
    )]
    Offline {
        /// The model.
        model: HubModel,
        /// The folder of the cache.
        cache: PathBuf,
    },
    /// The file that was downloaded is not an index of shards.
    #[error("{model}: {source}")]
    Index {
        /// The model.
        model: HubModel,
        /// What is wrong with it.
        source: Box<CheckpointError>,
    },
    /// The repository holds no model that could be read.
    #[error(
        "{model}: there is no file or folder of a model there (config.json with \
         diffusion_pytorch_model.safetensors or .bin, or a file named in full); the repository has \
         {found}"
    )]
    NoModel {
        /// The model.
        model: HubModel,
        /// Some of its files.
        found: String,
    },
}

/// What happens during a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A file starts, or goes on.
    Begin {
        /// Its name in the repository.
        file: &'a str,
        /// Bytes of the whole file.
        size: u64,
    },
    /// So many bytes were received, or were here already.
    Advance(u64),
}

/// A name of the Hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubModel {
    /// `owner/name`.
    repository: String,
    /// A folder or file of it; empty for the whole.
    path: String,
    /// A branch, tag or commit.
    revision: String,
}

impl FromStr for HubModel {
    type Err = HubError;

    fn from_str(name: &str) -> Result<Self, HubError> {
        let wrong = || HubError::Name { name: name.to_owned() };
        let rest = name.strip_prefix(SCHEME).ok_or_else(wrong)?;
        let (place, revision) = rest.split_once('@').unwrap_or((rest, MAIN));
        let mut parts = place.split('/');
        let (owner, model) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let path: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
        // They become parts of paths and addresses.
        let plain = |part: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !part.is_empty() && part.chars().all(allowed) && part.chars().any(|c| c != '.')
        };
        let sound = plain(owner)
            && plain(model)
            && path.iter().all(|part| plain(part))
            && revision.split('/').all(plain);
        if !sound {
            return Err(wrong());
        }
        Ok(Self {
            repository: format!("{owner}/{model}"),
            path: path.join("/"),
            revision: revision.to_owned(),
        })
    }
}

impl fmt::Display for HubModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.repository)?;
        if !self.path.is_empty() {
            write!(f, "/{}", self.path)?;
        }
        if self.revision != MAIN {
            write!(f, "@{}", self.revision)?;
        }
        Ok(())
    }
}

impl HubModel {
    /// The folder or file in the cache, if all of it is there.
    pub fn cached(&self) -> Option<PathBuf> {
        let repo = Cache::from_env().repo(self.repo(&self.revision));
        let here = |file: &str| repo.get(file);
        if !self.path.is_empty()
            && let Some(file) = here(&self.path).filter(|file| file.is_file())
        {
            return Some(file);
        }
        let network = |folder: &str| {
            let config = here(&join(folder, CONFIG))?;
            let weights = WEIGHTS.iter().find_map(|name| here(&join(folder, name)))?;
            let complete = !is_index(&weights)
                || shards(&weights).ok()?.iter().all(|name| here(&join(folder, name)).is_some());
            config.parent().filter(|_| complete).map(Path::to_path_buf)
        };
        // A folder with an average holds its network as well: which one is meant is asked later.
        let [own, inner, average] = self.folders().map(|folder| network(&folder));
        match (own, inner, average) {
            (None, Some(_), Some(average)) => average.parent().map(Path::to_path_buf),
            (own, inner, average) => own.or(inner).or(average),
        }
    }

    /// The repositories in the cache that hold a model.
    pub fn all_cached() -> Vec<Self> {
        let Ok(entries) = std::fs::read_dir(Cache::from_env().path()) else { return vec![] };
        let mut models: Vec<Self> = entries
            .filter_map(|entry| {
                let name = entry.ok()?.file_name().into_string().ok()?;
                let repository = name.strip_prefix("models--")?.replacen("--", "/", 1);
                format!("{SCHEME}{repository}").parse::<Self>().ok()
            })
            .filter(|model| model.cached().is_some())
            .collect();
        models.sort_by(|a, b| a.repository.cmp(&b.repository));
        models
    }

    /// Downloads what is not in the cache, and returns the folder or file there.
    ///
    /// # Errors
    /// No connection, no such repository, revision or model, or a refusal.
    pub fn fetch(&self, watch: &mut dyn FnMut(Event<'_>)) -> Result<PathBuf, HubError> {
        let cached = self.cached();
        if let Some(path) = &cached
            && !self.is_incomplete()
        {
            return Ok(path.clone());
        }
        match (self.download(watch), cached) {
            // Only what says what it predicts is missing, and that this is assumed will be said.
            (Err(HubError::Unreachable { .. }), Some(path)) => Ok(path),
            (found, _) => found,
        }
    }

    fn download(&self, watch: &mut dyn FnMut(Event<'_>)) -> Result<PathBuf, HubError> {
        let cache = Cache::from_env();
        if is_offline() {
            return Err(HubError::Offline { model: self.clone(), cache: cache.path().clone() });
        }
        let failed = |failure: Failure| self.failed(failure, cache.path());
        let client = Client::from_env(&cache);
        let info = client.info(&self.repository, &self.revision).map_err(failed)?;
        let names: Vec<&str> = info.files.iter().map(String::as_str).collect();
        let mut files = self.choose(&names).ok_or_else(|| self.no_model(&names))?;
        files.extend(self.words().into_iter().filter(|file| names.contains(&file.as_str())));
        // By its commit, so that a push between two files cannot mix two models.
        let folder = self.folder(&cache);
        let mut get = |file: &str| {
            let path = folder.join("snapshots").join(&info.sha).join(file);
            if !path.exists() {
                client
                    .fetch((&self.repository, &info.sha, file), &folder, watch)
                    .map_err(failed)?;
            }
            Ok::<PathBuf, HubError>(path)
        };
        for file in files {
            let path = get(&file)?;
            if is_index(&path) {
                let wrong =
                    |source| HubError::Index { model: self.clone(), source: Box::new(source) };
                let beside = file.rsplit_once('/').map_or("", |(folder, _)| folder);
                for shard in shards(&path).map_err(wrong)? {
                    get(&join(beside, &shard))?;
                }
            }
        }
        cache
            .repo(self.repo(&self.revision))
            .create_ref(&info.sha)
            .map_err(|error| failed(Failure::Other(error.to_string())))?;
        for file in self.words().iter().filter(|file| !names.contains(&file.as_str())) {
            // As the Hub's own tools note that a file is not there, so that it is not asked for again;
            // without the note it is, and nothing else changes.
            let note = self.absence(&info.sha, file);
            if let Some(folder) = note.parent()
                && std::fs::create_dir_all(folder).is_ok()
            {
                let _ = std::fs::write(note, "");
            }
        }
        self.cached().ok_or_else(|| self.no_model(&names))
    }

    /// Whether something of the model is not in the cache: the network, or what says what it
    /// predicts, unless it is known that the repository has no such file.
    pub fn is_incomplete(&self) -> bool {
        if self.cached().is_none() {
            return true;
        }
        let cache = Cache::from_env();
        let repo = cache.repo(self.repo(&self.revision));
        let known =
            |sha: &str, file: &str| repo.get(file).is_some() || self.absence(sha, file).exists();
        let refs = self.folder(&cache).join("refs").join(&self.revision);
        let sha = std::fs::read_to_string(refs).unwrap_or_else(|_| self.revision.clone());
        !is_offline() && !self.words().iter().all(|file| known(sha.trim(), file))
    }

    /// The files that say what the network predicts, and for which levels.
    fn words(&self) -> Vec<String> {
        let endings = [".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".th", ".json"];
        let is_file = endings.iter().any(|ending| self.path.ends_with(ending));
        let folder = match self.path.rsplit_once('/') {
            _ if !is_file => self.path.as_str(),
            Some((folder, _)) => folder,
            None => "",
        };
        let (outer, name) = folder.rsplit_once('/').unwrap_or(("", folder));
        let mut folders = vec![folder];
        folders.extend(name.starts_with(NETWORK_FOLDER).then_some(outer));
        folders
            .into_iter()
            .flat_map(|f| {
                [join(f, SCHEDULER), join(&join(f, SCHEDULER_FOLDER), SCHEDULER), join(f, PIPELINE)]
            })
            .collect()
    }

    /// Where the cache notes that a commit has no such file.
    fn absence(&self, sha: &str, file: &str) -> PathBuf {
        self.folder(&Cache::from_env()).join(".no_exist").join(sha).join(file)
    }

    fn folder(&self, cache: &Cache) -> PathBuf {
        cache.path().join(format!("models--{}", self.repository.replace('/', "--")))
    }

    fn repo(&self, revision: &str) -> Repo {
        Repo::with_revision(self.repository.clone(), RepoType::Model, revision.to_owned())
    }

    /// Where in the repository a model may be.
    fn folders(&self) -> [String; 3] {
        let inner = |name| join(&self.path, name);
        [self.path.clone(), inner(NETWORK_FOLDER), inner(AVERAGE_FOLDER)]
    }

    /// The files of the repository that make the model.
    fn choose(&self, names: &[&str]) -> Option<Vec<String>> {
        let has = |name: &String| names.contains(&name.as_str());
        if has(&self.path) {
            // What says of it what it does not say itself.
            let folder = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let config = Some(join(folder, CONFIG)).filter(has);
            return Some(config.into_iter().chain([self.path.clone()]).collect());
        }
        let network = |folder: &str| {
            let config = Some(join(folder, CONFIG)).filter(has)?;
            let weights = WEIGHTS.iter().map(|name| join(folder, name)).find(has)?;
            Some(vec![config, weights])
        };
        let own = network(&self.path);
        let [inner, average] =
            [NETWORK_FOLDER, AVERAGE_FOLDER].map(|name| network(&join(&self.path, name)));
        match (own, inner, average) {
            (Some(own), ..) => Some(own),
            (None, Some(inner), Some(average)) => Some([inner, average].concat()),
            (None, inner, average) => inner.or(average),
        }
    }

    fn no_model(&self, names: &[&str]) -> HubError {
        const SOME: usize = 6;
        let some = names.iter().take(SOME).copied().collect::<Vec<_>>().join(", ");
        let found = match names.len() {
            0 => "no files".to_owned(),
            n if n > SOME => format!("{some} and {} more", n - SOME),
            _ => some,
        };
        HubError::NoModel { model: self.clone(), found }
    }

    fn failed(&self, failure: Failure, cache: &Path) -> HubError {
        let model = self.clone();
        let problem = match failure {
            // What is private is not told from what is not there.
            Failure::Status(status @ (401 | 404)) => return HubError::Unknown { model, status },
            Failure::Status(status @ 403) => return HubError::Forbidden { model, status },
            Failure::Status(status) => format!("it answers with status {status}"),
            Failure::Other(problem) => problem,
        };
        HubError::Unreachable { model, problem, cache: cache.to_owned() }
    }
}

/// Whether a file of weights is an index of others.
fn is_index(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains(".index."))
}

fn is_offline() -> bool {
    std::env::var_os("HF_HUB_OFFLINE").is_some_and(|v| !v.is_empty() && v != "0")
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written_the_same() {
        for name in ["hf:a/b", "hf:a/b/unet", "hf:a/b/x/y.ckpt@refs/pr/8", "hf:a-1/b.c_d@v1.0"] {
            assert_eq!(name.parse::<HubModel>().unwrap().to_string(), name);
        }
        for name in
            ["a/b", "hf:a", "hf:a/", "hf:/b", "hf:a/b@", "hf:../b", "hf:a/b/../c", "hf:a/b c"]
        {
            assert!(matches!(name.parse::<HubModel>(), Err(HubError::Name { .. })), "{name}");
        }
    }

    #[test]
    fn a_model_is_chosen_from_the_files_of_a_repository() {
        let names = [
            "README.md",
            "model.ckpt",
            "unet/config.json",
            "unet/diffusion_pytorch_model.bin",
            "unet/diffusion_pytorch_model.safetensors",
        ];
        let choose = |name: &str| name.parse::<HubModel>().unwrap().choose(&names);
        let network = ["unet/config.json", "unet/diffusion_pytorch_model.safetensors"];
        assert_eq!(choose("hf:a/b").unwrap(), network);
        assert_eq!(choose("hf:a/b/unet").unwrap(), network);
        assert_eq!(choose("hf:a/b/model.ckpt").unwrap(), ["model.ckpt"]);
        let single = "unet/diffusion_pytorch_model.bin";
        assert_eq!(choose(&format!("hf:a/b/{single}")).unwrap(), ["unet/config.json", single]);
        assert_eq!(choose("hf:a/b/other"), None);
    }
}
