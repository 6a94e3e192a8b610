//! What a command can name: networks, reference statistics, data sets and exact scores.

use std::{
    fs,
    path::{Path, PathBuf},
};

use safetensors::SafeTensors;
use serde_json::Value;

use crate::{
    data::{self, file, sha256},
    networks::{
        checkpoint::Which,
        hub::HubModel,
        inspection::{Inspection, thousands},
    },
};
use crate::{
    error::{Error, Result},
    measure::reference::Reference,
};

/// How many folders below a cache are searched for models.
const DEPTH: usize = 5;

/// Extensions of files that may hold weights; their content decides.
const CHECKPOINTS: [&str; 6] = ["ckpt", "pth", "pt", "th", "bin", "safetensors"];

/// One thing that can be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What a command or a manifest calls it.
    pub name: String,
    /// What it is to the program, such as `noise model`.
    pub kind: String,
    /// Number of trained values, where that is known.
    pub parameters: Option<usize>,
    /// SHA-256 of its file, as hex.
    pub sha256: Option<String>,
    /// One sentence.
    pub about: String,
}

/// The models and references in the folders below `root`, at most `depth` deep, by path.
///
/// A folder with a `config.json` is a model; its sentence is the first one of its README.
///
/// # Errors
/// A folder or file that cannot be read.
pub fn models(root: &Path) -> Result<Vec<Item>> {
    let mut items = vec![];
    collect(root, DEPTH, &mut items)?;
    Ok(items)
}

fn collect(folder: &Path, depth: usize, items: &mut Vec<Item>) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let is_model = folder.join("config.json").is_file();
    if is_model {
        items.push(model(folder, &paths)?);
    }
    for path in &paths {
        if path.is_dir() && depth > 0 {
            collect(path, depth - 1, items)?;
        } else if is_safetensors(path)
            && let Ok(reference) = Reference::read(path)
        {
            items.push(reference_item(path, &reference)?);
        } else if !is_model
            && CHECKPOINTS.iter().any(|known| path.extension().is_some_and(|found| found == *known))
            && let Ok(inspection) = Inspection::of(path, Which::Ema, false)
        {
            items.push(file_item(path, &inspection));
        }
    }
    Ok(())
}

/// A single file of weights.
fn file_item(path: &Path, inspection: &Inspection) -> Item {
    let used = inspection.parts.iter().find(|part| part.used);
    let role = if inspection.runnable().is_some() { "noise model" } else { "weights" };
    let about = match (&inspection.known, &inspection.published) {
        (_, Some(published)) => format!("{published}."),
        (Some(known), None) => format!("{known}."),
        (None, None) => String::new(),
    };
    Item {
        name: path.display().to_string(),
        kind: format!("{role}, {}", inspection.container),
        parameters: used.and_then(|part| usize::try_from(part.parameters).ok()),
        sha256: Some(inspection.sha256.clone()),
        about,
    }
}

/// The noise models in the cache of the Hub.
pub fn hub_models() -> Vec<Item> {
    let item = |model: HubModel| {
        let inspection = Inspection::of(&model.cached()?, Which::Ema, false).ok()?;
        inspection.runnable()?;
        let path = inspection.file.clone();
        Some(Item { name: model.to_string(), ..file_item(&path, &inspection) })
    };
    HubModel::all_cached().into_iter().filter_map(item).collect()
}

fn is_safetensors(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "safetensors")
}

fn read(path: &Path) -> Result<Vec<u8>> {
    file::read(path)
        .map_err(|error| Error::input(format!("cannot read {}: {error}", path.display())))
}

fn model(folder: &Path, files: &[PathBuf]) -> Result<Item> {
    let config: Value =
        serde_json::from_slice(&read(&folder.join("config.json"))?).unwrap_or_default();
    let text = |key: &str| config.get(key).and_then(Value::as_str);
    let kind = match (text("_class_name"), text("architecture")) {
        (Some(class), _) => format!("noise model, {class}"),
        (None, Some(architecture)) => format!("features, {architecture}"),
        (None, None) => "unknown: config.json names no class".to_owned(),
    };
    // A reference next to the weights has its own entry.
    let file = files.iter().find(|path| is_safetensors(path) && Reference::read(path).is_err());
    let index = files.iter().find(|path| path.to_string_lossy().contains(".index."));
    let (parameters, sha256) = match (index, file) {
        // Shards share one hash over all of them.
        (Some(index), _) => {
            let inspection = Inspection::of(index, Which::Ema, false).ok();
            let used = |inspection: &Inspection| {
                let used = inspection.parts.iter().find(|part| part.used)?.parameters;
                usize::try_from(used).ok()
            };
            (inspection.as_ref().and_then(used), inspection.map(|found| found.sha256))
        }
        (None, Some(path)) => {
            let bytes = read(path)?;
            (parameters(&bytes), Some(sha256(&bytes)))
        }
        (None, None) => (None, None),
    };
    let readme = fs::read_to_string(folder.join("README.md")).unwrap_or_default();
    let name = folder.display().to_string();
    Ok(Item { name, kind, parameters, sha256, about: first_sentence(&readme) })
}

/// The number of trained values, which excludes the running statistics of normalisations.
fn parameters(bytes: &[u8]) -> Option<usize> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).ok()?;
    let buffers = ["running_mean", "running_var", "num_batches_tracked"];
    let tensors = metadata.tensors();
    let trained = tensors.iter().filter(|(name, _)| !buffers.iter().any(|b| name.ends_with(b)));
    Some(trained.map(|(_, info)| info.shape.iter().product::<usize>()).sum())
}

fn reference_item(path: &Path, reference: &Reference) -> Result<Item> {
    let origin = &reference.origin;
    let excluded: usize = origin.excluded.values().sum();
    let left_out = if excluded > 0 { format!(" ({excluded} left out)") } else { String::new() };
    Ok(Item {
        name: path.display().to_string(),
        kind: "reference".to_owned(),
        parameters: None,
        sha256: Some(sha256(&read(path)?)),
        about: format!(
            "{} features of {} for {}, {}, {} images{left_out}.",
            origin.extractor.dimension,
            origin.extractor.id,
            origin.dataset,
            origin.split,
            origin.images
        ),
    })
}

/// The first sentence below the title of a Markdown file.
fn first_sentence(markdown: &str) -> String {
    let is_prose = |line: &&str| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with(['#', '|', '-', '!', '<', '`'])
    };
    let line = markdown.lines().find(is_prose).unwrap_or_default().trim();
    line.find(". ").map_or(line, |end| &line[..=end]).to_owned()
}

/// The known data sets and weights, and where they are found.
pub fn data_sets(places: &data::Places) -> Vec<Item> {
    let find = |known: &data::Known, split| {
        let roots = [&places.data, &places.cache];
        roots.into_iter().flatten().find_map(|root| known.below(root, split))
    };
    let item = |known: &data::Known| {
        let splits = [data::Split::Train, data::Split::Test];
        let found: Vec<PathBuf> = splits.into_iter().filter_map(|s| find(known, s)).collect();
        let place = match found.as_slice() {
            [] => "not on this machine".to_owned(),
            [train, test] if train == test => format!("in {}", train.display()),
            [one] => format!("only {}", one.display()),
            [train, ..] => format!("in {}", train.parent().unwrap_or(train).display()),
        };
        Item {
            name: known.name.to_owned(),
            kind: "data set".to_owned(),
            parameters: None,
            sha256: None,
            about: format!("{}; {place}.", known.about),
        }
    };
    let roots = [&places.data, &places.cache];
    let celeba = roots.into_iter().flatten().find_map(|root| data::celeba::below(root));
    let other = |name: &str, kind: &str, about: &str, place: Option<PathBuf>| Item {
        name: name.to_owned(),
        kind: kind.to_owned(),
        parameters: None,
        sha256: None,
        about: match place {
            Some(path) => format!("{about}; in {}.", path.display()),
            None => format!("{about}; not on this machine."),
        },
    };
    let inception = data::INCEPTION;
    data::KNOWN
        .iter()
        .map(item)
        .chain([
            other(data::celeba::NAME, "data set", data::celeba::ABOUT, celeba),
            other(inception.name, "features", inception.about, inception.find(places)),
        ])
        .collect()
}

/// The exact-score models with their descriptions.
pub fn exact_scores(names: impl IntoIterator<Item = String>) -> Vec<Item> {
    let about = |name: &str| match name {
        "gaussian" => "One Gaussian: the score and the flow map are known exactly.",
        "mixture" => "A mixture of Gaussians: the score is known exactly.",
        "dirac" => "A single point: a Gaussian of width zero.",
        "linear" => {
            "The best model of one Gaussian that is linear in x, with free or shared weights."
        }
        "categorical" => "A table of categories: the posteriors of x0 are known exactly.",
        _ => "An exact score.",
    };
    let kind = |name: &str| match name {
        "categorical" => "exact posterior",
        _ => "exact score",
    };
    let item = |name: String| Item {
        about: about(&name).to_owned(),
        kind: kind(&name).to_owned(),
        parameters: None,
        sha256: None,
        name,
    };
    names.into_iter().map(item).collect()
}

/// A table for a terminal: each column is as wide as its widest entry.
pub fn table(items: &[Item]) -> String {
    let header = ["name", "kind", "parameters", "sha256", "what it is"].map(String::from);
    let rows: Vec<[String; 5]> = items
        .iter()
        .map(|item| {
            [
                item.name.clone(),
                item.kind.clone(),
                item.parameters.map_or_else(|| "-".to_owned(), |n| thousands(n as u64)),
                item.sha256.as_ref().map_or_else(|| "-".to_owned(), |hash| hash[..12].to_owned()),
                item.about.clone(),
            ]
        })
        .collect();
    let mut widths = [0; 4];
    for row in std::iter::once(&header).chain(&rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |[name, kind, parameters, hash, about]: &[String; 5]| {
        let [a, b, c, d] = widths;
        let line = format!("{name:a$}  {kind:b$}  {parameters:>c$}  {hash:d$}  {about}");
        format!("{}\n", line.trim_end())
    };
    std::iter::once(&header).chain(&rows).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_models_say_what_their_cards_say() {
        let items = models(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models")).unwrap();
        let find = |name: &str| {
            items.iter().find(|item| item.name.ends_with(name)).unwrap_or_else(|| panic!("{name}"))
        };
        let network = find("cifar10-small");
        assert_eq!(network.parameters, Some(1_113_955));
        assert_eq!(network.kind, "noise model, UNet2DModel");
        assert!(network.sha256.as_ref().unwrap().starts_with("a46f7b4ab394"));
        assert!(network.about.starts_with("A small noise-prediction network"), "{}", network.about);
        let features = find("cifar10-features");
        assert_eq!(features.kind, "features, cifar-resnet");
        assert!(features.sha256.as_ref().unwrap().starts_with("8ae6de3bdc7c"));
        let reference = find("cifar10-train.safetensors");
        assert!(reference.about.contains("49919 images (81 left out)"), "{}", reference.about);
    }

    #[test]
    fn files_of_weights_are_listed_by_what_they_hold() {
        let folder = tempfile::tempdir().unwrap();
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        let copy = |from: &str, to: &str| {
            fs::copy(models.join(from), folder.path().join(to)).unwrap();
        };
        // Without its config.json, diffusers' names are those of no network that could be run.
        copy("cifar10-small/diffusion_pytorch_model.safetensors", "a.ckpt");
        copy("cifar10-features/model.safetensors", "b.pth");
        fs::write(folder.path().join("c.pt"), "nothing").unwrap();
        let items = super::models(folder.path()).unwrap();
        let kinds: Vec<_> =
            items.iter().map(|item| (item.kind.as_str(), item.parameters)).collect();
        assert_eq!(kinds[0], ("weights, safetensors", Some(1_113_955)));
        assert_eq!((kinds[1].0, kinds.len()), ("weights, safetensors", 2));
    }

    #[test]
    fn a_table_lines_its_columns_up() {
        let mut items = exact_scores(["gaussian".to_owned()]);
        items.push(Item {
            name: "a-long-name".into(),
            kind: "features".into(),
            parameters: Some(1_234_567),
            sha256: Some("0123456789abcdef".into()),
            about: String::new(),
        });
        insta::assert_snapshot!(table(&items), @r"
        name         kind         parameters  sha256        what it is
        gaussian     exact score           -  -             One Gaussian: the score and the flow map are known exactly.
        a-long-name  features      1,234,567  0123456789ab
        ");
    }

    #[test]
    fn the_first_sentence_is_below_the_title() {
        assert_eq!(first_sentence("# T\n\n| a |\n\nOne. Two.\n"), "One.");
        assert_eq!(first_sentence("# T\n"), "");
    }
}
