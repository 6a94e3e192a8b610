//! Where the project's own models are, whatever folder a command runs in.
//!
//! A path is what it is where the command runs. If nothing is there, `models/NAME` and a bare `NAME`
//! are looked for below the homes of the project. What a manifest wrote stays what it is called: a
//! result does not depend on the folder that a command ran in, nor on where the models were found.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
};

use crate::networks::files::{CONFIG, NETWORK_FOLDER};

/// The variable that names a folder with `models/` in it.
pub const VARIABLE: &str = "DDIM_HOME";

/// The folder of the project's own models in each of its homes.
pub const MODELS: &str = "models";

/// The file of a saved pipeline.
const PIPELINE: &str = "model_index.json";

/// Folders that may hold `models/`, the first before the others: what the variable names, the data
/// folder of the installed program, and the repository that it was built in.
fn homes() -> Vec<PathBuf> {
    let named = env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    let program = env::current_exe().ok().and_then(|path| path.canonicalize().ok());
    let data = program.and_then(|path| Some(path.parent()?.parent()?.join("share/ddim")));
    let repository = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    named.into_iter().chain(data).chain([repository]).collect()
}

/// Where a path leads: as it is, or to a model of the project's own.
pub fn locate(path: &str) -> PathBuf {
    let here = PathBuf::from(path);
    let bare = is_bare(path);
    if here.exists() && (!bare || is_model(&here)) {
        return here;
    }
    let below = if bare { Path::new(MODELS).join(path) } else { here.clone() };
    if !below.starts_with(MODELS) {
        return here;
    }
    let places = std::iter::once(PathBuf::new()).chain(homes());
    places.map(|home| home.join(&below)).find(|path| path.exists()).unwrap_or(here)
}

/// Where [`locate`] looked for something that is nowhere.
pub fn looked(path: &str) -> String {
    if !is_bare(path) && !Path::new(path).starts_with(MODELS) {
        return "paths are relative to the folder the command runs in".to_owned();
    }
    let named = match env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        Some(_) => String::new(),
        None => format!("; {VARIABLE} may name one that has `{MODELS}/`"),
    };
    let homes: Vec<String> = homes().iter().map(|home| home.display().to_string()).collect();
    format!("looked in the folder the command runs in, {}{named}", homes.join(", "))
}

/// The models that a bare name can mean, and the path that stands for each in a manifest: a model's
/// folder here, or one of the project's own.
pub fn models() -> BTreeMap<String, String> {
    let mut models = BTreeMap::new();
    for home in homes().into_iter().rev().chain([PathBuf::new()]) {
        for name in folders(&home.join(MODELS)) {
            let path = format!("{MODELS}/{name}");
            models.insert(name, path);
        }
    }
    models.extend(folders(Path::new(".")).map(|name| (name.clone(), name)));
    models
}

/// The folder of the project's own models.
pub fn own() -> Option<PathBuf> {
    let places = std::iter::once(PathBuf::new()).chain(homes());
    places.map(|home| home.join(MODELS)).find(|path| path.is_dir())
}

/// Whether a source is one word and no path.
pub fn is_bare(source: &str) -> bool {
    !source.contains(['/', '\\', '.', ':'])
}

fn folders(folder: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| is_model(&entry.path()) && entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
}

/// Whether a path is a file, or a folder that says it is a model.
fn is_model(path: &Path) -> bool {
    let says = [CONFIG, PIPELINE, NETWORK_FOLDER].map(|name| path.join(name));
    path.is_file() || says.iter().any(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_itself_and_a_bare_name_one_of_the_models() {
        assert_eq!(locate("Cargo.toml"), Path::new("Cargo.toml"));
        assert_eq!(locate("cifar10-small"), Path::new("models/cifar10-small"));
        assert_eq!(locate("./cifar10-small"), Path::new("./cifar10-small"));
        assert_eq!(locate("absent"), Path::new("absent"));
        // A folder of that name that is no model is not taken for one.
        assert_eq!(locate("src"), Path::new("src"));
        assert_eq!(models()["cifar10-small"], "models/cifar10-small");
        assert!(!models().contains_key("src"));
    }
}
