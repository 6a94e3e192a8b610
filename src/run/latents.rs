//! Files of latents: the array, and what made it.
//!
//! A latent is useless without its model, grid and schedule, so a file records them: the manifest
//! that encoded it, the cell with every default written out, and the hash of the weights. In
//! `.safetensors` that is the file's metadata; for `NAME.npy` it is `NAME.npy.json`.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use ndarray::{Array4, ArrayD, ArrayView4, Ix4};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::data::file;
use crate::data::{
    ArrayWriter, Element, STDOUT,
    numpy::{self, Problem, Values},
    sha256,
};
use crate::{
    error::{Error, Result},
    plan::{CellSpec, Plan, StateKind},
    results::sink::write_atomically,
    run::assemble::NUMERICS,
};

/// The tensor's name in a `.safetensors` file.
const TENSOR: &str = "latents";

/// Where latents come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The manifest of one cell that encoded them.
    pub manifest: String,
    /// That cell's canonical JSON, defaults written out.
    pub cell: String,
    /// SHA-256 of the model's weights; none for an exact-score model.
    pub weights: Option<String>,
    /// Version of the numerics.
    pub numerics: String,
    /// What was encoded, and the SHA-256 of its images; absent for latents that are not encodings.
    pub images: Option<(String, String)>,
}

impl Origin {
    /// The origin of what the first cell of a plan makes.
    pub fn new(
        plan: &Plan,
        spec: &CellSpec,
        weights: Option<String>,
        images: Option<(String, String)>,
    ) -> Self {
        let (manifest, cell) = (plan.text.clone(), spec.canonical_json());
        Self { manifest, cell, weights, numerics: NUMERICS.to_owned(), images }
    }

    /// Where a cell with these weights differs, one line each.
    ///
    /// Seed, batch and number of samples make no difference, nor does the convention of inversion
    /// to a decoder, nor where weights of one hash lie.
    pub fn differences(&self, spec: &CellSpec, weights: Option<&str>) -> Vec<String> {
        const MEANINGLESS: [&str; 6] =
            ["seed", "samples", "batch", "metrics", "state", "solver.inversion"];
        let there = leaves(&self.cell);
        let here = leaves(&spec.canonical_json());
        let same_weights = weights.is_some() && weights == self.weights.as_deref();
        let paths: BTreeSet<&String> = there.keys().chain(here.keys()).collect();
        let matters = |path: &&&String| {
            let under = |section: &str| {
                path.strip_prefix(section)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            let moved = same_weights && path.as_str() == "model.source";
            !moved && !MEANINGLESS.iter().any(|section| under(section))
        };
        let say = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
        let mut lines: Vec<String> = paths
            .iter()
            .filter(matters)
            .filter(|path| there.get(**path) != here.get(**path))
            .map(|path| {
                format!("{path}: {} there, {} here", say(there.get(*path)), say(here.get(*path)))
            })
            .collect();
        let hash =
            |hash: Option<&str>| hash.map_or("none", |hash| &hash[..hash.len().min(12)]).to_owned();
        if weights != self.weights.as_deref() {
            let (there, here) = (hash(self.weights.as_deref()), hash(weights));
            lines.push(format!("hash of the weights: {there} there, {here} here"));
        }
        if self.numerics != NUMERICS {
            lines
                .push(format!("version of the numerics: {} there, {NUMERICS} here", self.numerics));
        }
        lines
    }

    fn to_map(&self) -> BTreeMap<String, String> {
        let mut map = BTreeMap::from([
            ("format".to_owned(), "ddim latents 1".to_owned()),
            ("manifest".to_owned(), self.manifest.clone()),
            ("cell".to_owned(), self.cell.clone()),
            ("numerics".to_owned(), self.numerics.clone()),
        ]);
        map.extend(self.weights.clone().map(|hash| ("weights".to_owned(), hash)));
        if let Some((name, hash)) = self.images.clone() {
            map.extend([("images".to_owned(), name), ("images_sha256".to_owned(), hash)]);
        }
        map
    }

    fn from_map(map: &BTreeMap<String, String>) -> Option<Self> {
        let text = |key: &str| map.get(key).cloned();
        Some(Self {
            manifest: text("manifest")?,
            cell: text("cell")?,
            weights: text("weights"),
            numerics: text("numerics")?,
            images: text("images").zip(text("images_sha256")),
        })
    }
}

/// The values of a JSON object by their dotted paths; a list is one value.
fn leaves(json: &str) -> BTreeMap<String, Value> {
    fn walk(prefix: &str, value: Value, into: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    let dot = if prefix.is_empty() { "" } else { "." };
                    walk(&format!("{prefix}{dot}{key}"), value, into);
                }
            }
            value => drop(into.insert(prefix.to_owned(), value)),
        }
    }
    let mut map = BTreeMap::new();
    walk("", serde_json::from_str(json).unwrap_or(Value::Null), &mut map);
    map
}

/// Latents in memory.
#[derive(Clone, Debug)]
pub struct Latents {
    /// `[N, C, H, W]`.
    pub z: Array4<f64>,
    /// What made them; absent if the file does not say.
    pub origin: Option<Origin>,
}

/// Whether a path ends as files of latents do.
pub fn is_latents(path: &Path) -> bool {
    let ending = path.extension().map(OsStr::to_ascii_lowercase);
    ending.is_some_and(|ending| ending == "npy" || ending == "safetensors")
}

fn is_npy(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("npy"))
}

/// The file next to an `.npy` that says what made it.
fn sidecar(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

/// Reads latents.
///
/// # Errors
/// A file that is damaged, holds anything but one `[N, C, H, W]` of f32 or f64, is empty, or has values
/// that are not finite; an `.npy` whose `.json` is about another.
pub fn read(path: &Path) -> Result<Latents> {
    let refuse = |problem: String| Error::input(format!("{}: {problem}", path.display()));
    if !is_latents(path) {
        return Err(refuse("latents are in .npy or .safetensors files".into()));
    }
    let bytes = file::read(path)
        .map_err(|error| Error::input(format!("cannot read {}: {error}", path.display())))?;
    let (z, origin) = if is_npy(path) {
        (from_npy(&bytes).map_err(refuse)?, beside(path, &bytes)?)
    } else {
        from_safetensors(&bytes).map_err(refuse)?
    };
    let found = z.shape().to_vec();
    let z = z
        .into_dimensionality::<Ix4>()
        .map_err(|_| refuse(format!("its shape is {found:?}; latents are [N, C, H, W]")))?;
    if z.is_empty() {
        return Err(refuse(format!("its shape is {found:?}: nothing is in it")));
    }
    let odd = z.outer_iter().position(|z| !z.iter().all(|value| value.is_finite()));
    match odd {
        Some(index) => Err(refuse(format!(
            "latent {index} (from 0) has NaN or infinite values; write them without"
        ))),
        None => Ok(Latents { z, origin }),
    }
}

fn from_npy(bytes: &[u8]) -> std::result::Result<ArrayD<f64>, String> {
    let values = numpy::read(&mut &*bytes, Some(bytes.len() as u64)).and_then(Values::doubles);
    values.map_err(|problem| match problem {
        Problem::Kind(kind) => format!(
            "its values are of type {kind}, and latents are floats: save \
             x.astype(numpy.float32), if these are the x_T that are meant"
        ),
        problem => problem.to_string(),
    })
}

/// What the file next to an `.npy` says, if there is one and it is about these bytes.
fn beside(path: &Path, bytes: &[u8]) -> Result<Option<Origin>> {
    let about = sidecar(path);
    let Ok(text) = fs::read(&about) else { return Ok(None) };
    let map: Option<BTreeMap<String, String>> = serde_json::from_slice(&text).ok();
    let origin = map.as_ref().and_then(Origin::from_map);
    let Some((map, origin)) = map.as_ref().zip(origin) else {
        return Err(Error::input(format!(
            "{} does not say what made {}; remove it, and name the model",
            about.display(),
            path.display()
        )));
    };
    if map.get("sha256") != Some(&sha256(bytes)) {
        return Err(Error::input(format!(
            "{} is about another array than {}, by its hash; encode again, or remove it and name \
             the model",
            about.display(),
            path.display()
        )));
    }
    Ok(Some(origin))
}

fn from_safetensors(bytes: &[u8]) -> std::result::Result<(ArrayD<f64>, Option<Origin>), String> {
    let damaged = |error: safetensors::SafeTensorError| {
        format!("it cannot be read ({error}): it is damaged or no .safetensors file")
    };
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
    let tensor = file.tensor(TENSOR).map_err(|_| {
        format!("it holds no tensor called `{TENSOR}`, but {}", file.names().join(", "))
    })?;
    let data = tensor.data();
    let values: Vec<f64> = match tensor.dtype() {
        Dtype::F32 => {
            data.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect()
        }
        Dtype::F64 => data.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
        other => return Err(format!("`{TENSOR}` is of type {other:?}; latents are F32 or F64")),
    };
    let z = ArrayD::from_shape_vec(tensor.shape(), values).map_err(|error| error.to_string())?;
    let about = header.metadata().as_ref();
    let about = about.map(|map| map.iter().map(|(k, v)| (k.clone(), v.clone())).collect());
    Ok((z, about.as_ref().and_then(Origin::from_map)))
}

/// Latents on their way to a file, batch by batch; the file appears when it is whole.
#[derive(Debug)]
pub struct LatentsWriter {
    path: PathBuf,
    array: ArrayWriter,
    origin: Origin,
}

impl LatentsWriter {
    /// Begins a file of latents `[N, C, H, W]` in the type of the states; stdout gets the `.npy` without
    /// what made it.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    pub fn create(
        path: &Path,
        shape: [usize; 4],
        state: StateKind,
        origin: Origin,
    ) -> Result<Self> {
        let element = match state {
            StateKind::F32 => Element::F32,
            StateKind::F64 => Element::F64,
        };
        let array = if is_npy(path) || path.as_os_str() == STDOUT {
            ArrayWriter::npy(path, shape, element)?
        } else {
            ArrayWriter::safetensors(path, TENSOR, shape, element, &origin.to_map())?
        };
        Ok(Self { path: path.to_path_buf(), array, origin })
    }

    /// Writes further latents.
    ///
    /// # Errors
    /// A disk that is full.
    pub fn append(&mut self, z: ArrayView4<'_, f64>) -> Result<()> {
        Ok(self.array.append(z)?)
    }

    /// Puts the file in its place, and next to an `.npy` the one that says what made it.
    ///
    /// # Errors
    /// A disk that is full.
    pub fn finish(self) -> Result<()> {
        let hash = self.array.finish()?;
        if is_npy(&self.path) {
            let mut map = self.origin.to_map();
            map.insert("sha256".to_owned(), hash);
            let json = serde_json::to_string_pretty(&map).unwrap_or_default();
            write_atomically(&sidecar(&self.path), json.as_bytes())?;
        }
        Ok(())
    }
}
