//! Feature extractors and reference statistics, loaded once and shared by cells.

use std::{cell::OnceCell, collections::BTreeMap, path::Path, rc::Rc};

use ndarray::{Array2, ArrayView2, ArrayView4};

use super::{
    error::{Error, Result},
    hardware::Hardware,
    image_grid,
    plan::{CellSpec, FD_INFINITY, KID, MetricsSpec},
    reference::{Extractor, Reference},
};
use crate::{
    backends::torch,
    metrics::{
        FrechetReference, Jackknife, KidReference, frechet_extrapolation, frechet_jackknife,
        kid_jackknife,
    },
    models::{
        features::{self, FeatureExtractor},
        weights,
    },
};

/// The extractors and references in use.
pub struct Extractors {
    hardware: Hardware,
    networks: BTreeMap<String, Rc<dyn FeatureExtractor>>,
    references: BTreeMap<String, Rc<Loaded>>,
}

struct Loaded {
    frechet: FrechetReference,
    features: Array2<f32>,
    /// Made of the features when it is first asked for: it costs their number squared.
    kid: OnceCell<KidReference>,
    sha256: String,
}

impl Loaded {
    fn kid(&self) -> Result<&KidReference> {
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
            features::open(Path::new(source), self.hardware.device())?.into();
        self.networks.insert(source.to_owned(), Rc::clone(&extractor));
        Ok(extractor)
    }

    fn reference(&mut self, spec: &MetricsSpec) -> Result<Rc<Loaded>> {
        let extractor = self.extractor(&spec.features)?;
        let key = format!("{} {}", spec.reference, extractor.sha256());
        if let Some(reference) = self.references.get(&key) {
            return Ok(Rc::clone(reference));
        }
        let path = Path::new(&spec.reference);
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
    /// As [`Extractors::measure`].
    pub fn hashes(&mut self, spec: &CellSpec) -> Result<BTreeMap<String, String>> {
        let Some(metrics) = &spec.metrics else { return Ok(BTreeMap::new()) };
        Ok(BTreeMap::from([
            ("features".to_owned(), self.extractor(&metrics.features)?.sha256().to_owned()),
            ("reference".to_owned(), self.reference(metrics)?.sha256.clone()),
        ]))
    }

    /// How a cell is measured, if it is.
    ///
    /// # Errors
    /// An extractor or a reference that cannot be read, or that do not belong together.
    pub fn measure(&mut self, spec: &CellSpec) -> Result<Option<Measure>> {
        let Some(metrics) = &spec.metrics else { return Ok(None) };
        Ok(Some(Measure {
            spec: metrics.clone(),
            extractor: self.extractor(&metrics.features)?,
            reference: self.reference(metrics)?,
            device: self.hardware.device(),
        }))
    }
}

/// What turns samples into features, and features into distances.
pub struct Measure {
    spec: MetricsSpec,
    extractor: Rc<dyn FeatureExtractor>,
    reference: Rc<Loaded>,
    device: tch::Device,
}

impl Measure {
    /// Length of a feature vector.
    pub fn dimension(&self) -> usize {
        self.extractor.dim()
    }

    /// The metrics of a cell's features, by their columns.
    ///
    /// # Errors
    /// Features that are not finite, or too few of them on either side.
    pub fn metrics(&self, features: ArrayView2<'_, f32>) -> Result<BTreeMap<String, Jackknife>> {
        let MetricsSpec { blocks, .. } = self.spec;
        let frechet = &self.reference.frechet;
        let metric = |name: &str| -> Result<Jackknife> {
            Ok(match name {
                KID => kid_jackknife(features, blocks, self.reference.kid()?)?,
                FD_INFINITY => frechet_extrapolation(features, blocks, frechet)?,
                _ => frechet_jackknife(features, blocks, frechet)?,
            })
        };
        self.spec
            .metrics()
            .into_iter()
            .map(|name| Ok((column_name(name, &self.spec.features), metric(name)?)))
            .collect()
    }

    /// The features of samples in [-1, 1], rounded to 8 bits first unless the manifest says not to.
    ///
    /// # Errors
    /// Images the extractor does not take.
    pub fn features(&self, samples: ArrayView4<'_, f32>) -> Result<Array2<f32>> {
        features(&*self.extractor, samples, self.spec.quantise, self.device)
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
/// KID alone, which are Inception's.
pub fn column_name(metric: &str, features: &str) -> String {
    let name =
        Path::new(features).file_name().map_or(features.into(), |name| name.to_string_lossy());
    let (measure, variant) = metric.split_once('.').unwrap_or((metric, ""));
    let dot = if variant.is_empty() { "" } else { "." };
    format!("{}-{name}{dot}{variant}", measure.to_uppercase())
}
