//! Feature extractors and reference statistics, loaded once and shared by cells.

use std::{
    cell::OnceCell,
    collections::BTreeMap,
    path::{Path, PathBuf},
    rc::Rc,
};

use ndarray::{Array2, ArrayView4, Axis, concatenate, s};

use crate::{
    backends::torch,
    data::{self, file_sha256},
    metrics::{FrechetReference, KidReference},
    networks::{
        extractors,
        features::{FeatureExtractor, INCEPTION},
    },
};
use crate::{
    error::{Error, Result},
    hardware::{Hardware, memory::Limit},
    measure::reference::{Extractor, Reference},
    networks::home,
    plan::CellSpec,
};

/// Where an extractor runs, and how many images it takes at once.
#[derive(Clone, Debug)]
pub struct Place {
    device: tch::Device,
    limit: Rc<Limit>,
}

impl Place {
    /// On a device, with as many images at once as are given, until memory runs out.
    pub fn on(device: tch::Device) -> Self {
        Self { device, limit: Rc::default() }
    }

    /// The most images at once; none if memory never ran out.
    pub fn most(&self) -> Option<usize> {
        self.limit.most()
    }

    /// As [`Limit::news`].
    pub(crate) fn news(&self) -> Option<String> {
        self.limit.news("features")
    }
}

/// The extractors and references in use.
pub struct Extractors {
    hardware: Hardware,
    networks: BTreeMap<String, Rc<dyn FeatureExtractor>>,
    places: BTreeMap<String, Place>,
    references: BTreeMap<String, Rc<Loaded>>,
}

/// A reference in the forms that distances need.
pub(crate) struct Loaded {
    pub(crate) reference: Reference,
    /// Made when it is first asked for: it costs the number of features cubed.
    frechet: OnceCell<FrechetReference>,
    /// The same: it costs the number of kept samples squared.
    kid: OnceCell<KidReference>,
    sha256: String,
}

impl Loaded {
    /// A reference, and the hash of its file if it has one.
    pub(crate) fn new(reference: Reference, sha256: String) -> Self {
        Self { reference, frechet: OnceCell::new(), kid: OnceCell::new(), sha256 }
    }

    pub(crate) fn frechet(&self) -> Result<&FrechetReference> {
        if let Some(frechet) = self.frechet.get() {
            return Ok(frechet);
        }
        let frechet = FrechetReference::new(&self.reference.moments()?)?;
        Ok(self.frechet.get_or_init(|| frechet))
    }

    pub(crate) fn kid(&self) -> Result<&KidReference> {
        if let Some(kid) = self.kid.get() {
            return Ok(kid);
        }
        let kid = KidReference::new(self.reference.features()?)?;
        Ok(self.kid.get_or_init(|| kid))
    }
}

impl Extractors {
    /// None loaded yet.
    pub fn new(hardware: Hardware) -> Self {
        Self {
            hardware,
            networks: BTreeMap::new(),
            places: BTreeMap::new(),
            references: BTreeMap::new(),
        }
    }

    /// An extractor: `inception`, a file of Inception weights, or a classifier's folder or file.
    ///
    /// # Errors
    /// A file or folder that is not there or not one, or weights that do not fit.
    pub fn extractor(&mut self, source: &str) -> Result<Rc<dyn FeatureExtractor>> {
        if let Some(extractor) = self.networks.get(source) {
            return Ok(Rc::clone(extractor));
        }
        let path = locate(source)?;
        let extractor: Rc<dyn FeatureExtractor> =
            extractors::open(&path, self.hardware.device())?.into();
        self.networks.insert(source.to_owned(), Rc::clone(&extractor));
        Ok(extractor)
    }

    /// A reference for the extractor of a folder.
    ///
    /// # Errors
    /// An extractor or a reference that cannot be read, or that do not belong together.
    pub(crate) fn reference(&mut self, features: &str, reference: &str) -> Result<Rc<Loaded>> {
        let extractor = self.extractor(features)?;
        let key = format!("{reference} {}", extractor.sha256());
        if let Some(reference) = self.references.get(&key) {
            return Ok(Rc::clone(reference));
        }
        let path = home::locate(reference);
        let reference = Reference::read_for(&path, &describe(&*extractor))?;
        let sha256 = file_sha256(&path)
            .map_err(|error| Error::input(format!("cannot read {}: {error}", path.display())))?;
        let loaded = Rc::new(Loaded::new(reference, sha256));
        self.references.insert(key, Rc::clone(&loaded));
        Ok(loaded)
    }

    /// The hashes of what a cell is measured with, by role.
    ///
    /// # Errors
    /// An extractor or a reference that cannot be read, or that do not belong together.
    pub fn hashes(&mut self, spec: &CellSpec) -> Result<BTreeMap<String, String>> {
        let mut hashes = BTreeMap::new();
        let Some(metrics) = &spec.metrics else { return Ok(hashes) };
        for (at, features, reference) in metrics.networks() {
            let extractor = self.extractor(features)?;
            hashes.insert(format!("{at}features"), extractor.sha256().to_owned());
            if let Some(reference) = reference {
                let reference = self.reference(features, reference)?;
                hashes.insert(format!("{at}reference"), reference.sha256.clone());
            }
        }
        Ok(hashes)
    }

    /// Where the features of an extractor are computed: the same for all who ask for it.
    pub(crate) fn place(&mut self, source: &str) -> Place {
        let place = || Place::on(self.hardware.device());
        self.places.entry(source.to_owned()).or_insert_with(place).clone()
    }

    /// The extractors for which memory ran out, and how many images each takes at once.
    pub(crate) fn limits(&self) -> impl Iterator<Item = (&str, usize, Option<String>)> {
        let places = self.places.iter();
        places.filter_map(|(source, place)| Some((source.as_str(), place.most()?, place.news())))
    }
}

/// The features of images in [-1, 1]; in parts, if there is no memory for all at once.
///
/// # Errors
/// Images the extractor does not take, and a single one that does not fit into memory.
pub fn features(
    extractor: &dyn FeatureExtractor,
    images: ArrayView4<'_, f32>,
    quantise: bool,
    place: &Place,
) -> Result<Array2<f32>> {
    let unit = |x| {
        if quantise {
            f32::from(data::to_u8(x)) / 255.0
        } else {
            f32::midpoint(x, 1.0).clamp(0.0, 1.0)
        }
    };
    let n = images.len_of(Axis(0));
    let mut parts: Vec<Array2<f32>> = vec![];
    place.limit.each(
        n,
        0..n,
        |part| {
            let unit = images.slice(s![part, .., .., ..]).mapv(unit);
            let features = extractor.features(&torch::from_images(&unit, place.device)?)?;
            let features = torch::to_matrix(&features)?;
            if features.ncols() != extractor.dim() {
                let (id, found, dim) = (extractor.id(), features.ncols(), extractor.dim());
                return Err(Error::input(format!("{id} gave {found} features, and states {dim}")));
            }
            Ok(features)
        },
        |_, features| {
            parts.push(features);
            Ok(())
        },
    )?;
    let views: Vec<_> = parts.iter().map(Array2::view).collect();
    concatenate(Axis(0), &views).map_err(|error| Error::input(error.to_string()))
}

/// What a reference says of the extractor it was made with.
pub fn describe(extractor: &dyn FeatureExtractor) -> Extractor {
    Extractor {
        id: extractor.id().to_owned(),
        sha256: extractor.sha256().to_owned(),
        dimension: extractor.dim(),
    }
}

/// Where an extractor's weights are.
///
/// # Errors
/// `inception` is not on this machine; the message says how to get it.
pub fn locate(source: &str) -> Result<PathBuf> {
    if source == INCEPTION && !Path::new(source).exists() {
        return Ok(data::INCEPTION.locate(&data::Places::from_env())?);
    }
    Ok(home::locate(source))
}
