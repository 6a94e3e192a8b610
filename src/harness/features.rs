//! Feature extractors and reference statistics, loaded once and shared by cells.

use std::{cell::OnceCell, collections::BTreeMap, path::Path, rc::Rc};

use ndarray::{Array2, ArrayView4};

use super::{
    error::{Error, Result},
    hardware::Hardware,
    image_grid,
    plan::CellSpec,
    reference::{Extractor, Reference},
};
use crate::{
    backends::torch,
    metrics::{FrechetReference, KidReference},
    models::{
        classifier::{Classifier, FeatureExtractor},
        weights,
    },
};

/// The extractors and references in use.
pub struct Extractors {
    hardware: Hardware,
    networks: BTreeMap<String, Rc<dyn FeatureExtractor>>,
    references: BTreeMap<String, Rc<Loaded>>,
}

/// A reference in the forms that distances need.
pub(super) struct Loaded {
    pub(super) frechet: FrechetReference,
    features: Array2<f32>,
    /// Made of the features when it is first asked for: it costs their number squared.
    kid: OnceCell<KidReference>,
    sha256: String,
}

impl Loaded {
    pub(super) fn kid(&self) -> Result<&KidReference> {
        if let Some(kid) = self.kid.get() {
            return Ok(kid);
        }
        let kid = KidReference::new(self.features.view())?;
        Ok(self.kid.get_or_init(|| kid))
    }
}

impl Extractors {
    /// None loaded yet.
    pub fn new(hardware: Hardware) -> Self {
        Self { hardware, networks: BTreeMap::new(), references: BTreeMap::new() }
    }

    /// The extractor of a folder.
    ///
    /// # Errors
    /// A folder that is not one, or weights that do not fit.
    pub fn extractor(&mut self, source: &str) -> Result<Rc<dyn FeatureExtractor>> {
        if let Some(extractor) = self.networks.get(source) {
            return Ok(Rc::clone(extractor));
        }
        let extractor: Rc<dyn FeatureExtractor> =
            Rc::new(Classifier::open(Path::new(source), self.hardware.device())?);
        self.networks.insert(source.to_owned(), Rc::clone(&extractor));
        Ok(extractor)
    }

    /// A reference for the extractor of a folder.
    ///
    /// # Errors
    /// An extractor or a reference that cannot be read, or that do not belong together.
    pub(super) fn reference(&mut self, features: &str, reference: &str) -> Result<Rc<Loaded>> {
        let extractor = self.extractor(features)?;
        let key = format!("{reference} {}", extractor.sha256());
        if let Some(reference) = self.references.get(&key) {
            return Ok(Rc::clone(reference));
        }
        let path = Path::new(reference);
        let reference = Reference::read_for(path, &describe(&*extractor))?;
        let loaded = Rc::new(Loaded {
            frechet: FrechetReference::new(&reference.moments()?)?,
            features: reference.features,
            kid: OnceCell::new(),
            sha256: file_sha256(path)?,
        });
        self.references.insert(key, Rc::clone(&loaded));
        Ok(loaded)
    }

    /// The hashes of what a cell is measured with, by role.
    ///
    /// # Errors
    /// An extractor or a reference that cannot be read, or that do not belong together.
    pub fn hashes(&mut self, spec: &CellSpec) -> Result<BTreeMap<String, String>> {
        let metrics = spec.metrics.as_ref();
        let named = metrics.and_then(|m| Some((m.features.as_ref()?, m.reference.as_ref()?)));
        let Some((features, reference)) = named else { return Ok(BTreeMap::new()) };
        Ok(BTreeMap::from([
            ("features".to_owned(), self.extractor(features)?.sha256().to_owned()),
            ("reference".to_owned(), self.reference(features, reference)?.sha256.clone()),
        ]))
    }

    /// The device that features are computed on.
    pub(super) fn device(&self) -> tch::Device {
        self.hardware.device()
    }
}

/// The features of images in [-1, 1].
///
/// # Errors
/// Images the extractor does not take.
pub fn features(
    extractor: &dyn FeatureExtractor,
    images: ArrayView4<'_, f32>,
    quantise: bool,
    device: tch::Device,
) -> Result<Array2<f32>> {
    let unit = images.mapv(|x| {
        if quantise {
            f32::from(image_grid::to_u8(x)) / 255.0
        } else {
            f32::midpoint(x, 1.0).clamp(0.0, 1.0)
        }
    });
    let features = extractor.features(&torch::from_images(&unit, device)?)?;
    torch::to_matrix(&features).map_err(Error::from)
}

/// What a reference says of the extractor it was made with.
pub fn describe(extractor: &dyn FeatureExtractor) -> Extractor {
    Extractor {
        id: extractor.id().to_owned(),
        sha256: extractor.sha256().to_owned(),
        dimension: extractor.dim(),
    }
}

fn file_sha256(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path)
        .map_err(|error| Error::input(format!("cannot read {}: {error}", path.display())))?;
    Ok(weights::sha256(&bytes))
}

/// The column of a metric on an extractor's features, such as `FD-cifar10-features`: never FID or
/// KID alone, which are Inception's. A metric without features is its own column.
pub fn column_name(metric: &str, features: Option<&str>) -> String {
    let Some(features) = features else { return metric.to_owned() };
    let name =
        Path::new(features).file_name().map_or(features.into(), |name| name.to_string_lossy());
    let (measure, variant) = metric.split_once('.').unwrap_or((metric, ""));
    let dot = if variant.is_empty() { "" } else { "." };
    format!("{}-{name}{dot}{variant}", measure.to_uppercase())
}
