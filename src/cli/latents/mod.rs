//! Images to latents and back: what the four verbs share.

pub(super) mod decode;
pub(super) mod encode;
pub(super) mod interpolate;
pub(super) mod reconstruct;

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use ndarray::{Array4, ArrayView4, Axis, concatenate, s};
use sha2::{Digest, Sha256};

use crate::cli::{
    Talk,
    images::{Images, SplitName},
};
use crate::{
    data::{ImageSet, Images as _, Split, array},
    error::{Error, Result},
    plan::CellSpec,
    run::{assemble::Route, registry::Registry},
};

/// Images in the range they were stored in.
pub(super) enum Pictures {
    /// 0 to 255, read when they are asked for.
    Bytes(ImageSet),
    /// -1 to 1, not rounded, so that encoding samples starts from their exact values; in memory.
    Floats {
        images: Array4<f32>,
        name: String,
        /// The file of each image that has its own; empty if none has.
        files: Vec<Option<PathBuf>>,
    },
}

impl Pictures {
    /// Reads one set, or joins several of the same size.
    pub(super) fn load(
        data: &[String],
        split: Option<SplitName>,
        images: &Images,
        talk: &Talk,
    ) -> Result<Self> {
        let mut sets = vec![];
        for data in data {
            let path = Path::new(data);
            let set = if path.is_file() && array::is_array(path) && images.as_stored() {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let array::Floats { images: floats, note } =
                    array::read_floats(path, images.value_range())?;
                if let Some(note) = note {
                    talk.say(|| note);
                }
                Self::Floats { images: floats, name, files: vec![] }.at(images)?
            } else {
                Self::Bytes(images.load(data, split, Split::Test, talk)?)
            };
            sets.push(set);
        }
        let Some((first, rest)) = sets.split_first() else {
            return Err(Error::input("no images were named"));
        };
        if rest.is_empty() {
            return Ok(sets.remove(0));
        }
        if let Some(other) = rest.iter().find(|other| other.shape() != first.shape()) {
            return Err(Error::input(format!(
                "{} is {}, but {} is {}; make all images the same size with --resize \
                 center-crop:SIDE or squash:SIDE",
                first.name(),
                size(first.shape()),
                other.name(),
                size(other.shape())
            )));
        }
        let part = |set: &Self| Ok(set.rows(0..set.len())?.mapv(single));
        let parts: Vec<Array4<f32>> = sets.iter().map(part).collect::<Result<_>>()?;
        let views: Vec<_> = parts.iter().map(Array4::view).collect();
        let images =
            concatenate(Axis(0), &views).map_err(|error| Error::input(error.to_string()))?;
        let names: Vec<String> = sets.iter().map(Self::name).collect();
        let files = sets.iter().flat_map(|set| (0..set.len()).map(|i| set.file(i)));
        let files = files.map(|file| file.map(Path::to_path_buf)).collect();
        Ok(Self::Floats { images, name: names.join(" "), files })
    }

    /// The images of an array that the flags choose.
    fn at(self, flags: &Images) -> Result<Self> {
        let Self::Floats { images, name, files } = self else { return Ok(self) };
        let Some(range) = flags.positions()? else {
            let n = images.shape()[0].min(flags.limit().unwrap_or(usize::MAX));
            let images = images.slice_move(s![..n, .., .., ..]);
            return Ok(Self::Floats { images, name, files });
        };
        let n = images.shape()[0];
        if range.end > n {
            return Err(Images::beyond(&range, &name, n));
        }
        let name = format!("{name} {}..{}", range.start, range.end);
        let images = images.slice_move(s![range, .., .., ..]);
        Ok(Self::Floats { images, name, files })
    }

    /// The file of an image; none for an image in an array or a data set.
    fn file(&self, index: usize) -> Option<&Path> {
        match self {
            Self::Bytes(set) => set.images.file(index),
            Self::Floats { files, .. } => files.get(index)?.as_deref(),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Bytes(set) => set.len(),
            Self::Floats { images, .. } => images.shape()[0],
        }
    }

    fn shape(&self) -> [usize; 3] {
        match self {
            Self::Bytes(set) => set.shape(),
            Self::Floats { images, .. } => {
                let (_, c, h, w) = images.dim();
                [c, h, w]
            }
        }
    }

    pub(super) fn name(&self) -> String {
        match self {
            Self::Bytes(set) if set.split == "all" => set.name.clone(),
            Self::Bytes(set) => format!("{} {}", set.name, set.split),
            Self::Floats { name, .. } => name.clone(),
        }
    }

    fn sha256(&self) -> Result<String> {
        Ok(match self {
            Self::Bytes(set) => set.sha256()?,
            Self::Floats { images, .. } => {
                let mut hash = Sha256::new();
                hash.update(format!("{:?}\n", images.shape()));
                for x in images {
                    hash.update(x.to_le_bytes());
                }
                format!("{:x}", hash.finalize())
            }
        })
    }

    /// Some of the images in [-1, 1].
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(super) fn rows(&self, rows: Range<usize>) -> Result<Array4<f64>> {
        Ok(match self {
            Self::Bytes(set) => set.images.as_samples(rows)?,
            Self::Floats { images, .. } => images.slice(s![rows, .., .., ..]).mapv(f64::from),
        })
    }

    /// Refuses images of another size, which a network would accept and distort.
    pub(super) fn check_shape(&self, [c, h, w]: [usize; 3]) -> Result<()> {
        let found = self.shape();
        if found == [c, h, w] {
            return Ok(());
        }
        let mut remedies = vec![];
        if found[1..] != [h, w] && h == w {
            remedies.push(if found[1] <= h && found[2] <= w {
                format!("--resize pad:{h} or squash:{h}")
            } else {
                format!("--resize center-crop:{h} or squash:{h}")
            });
        }
        if (found[0], c) == (1, 3) {
            remedies.push("--rgb".to_owned());
        }
        let remedy = match remedies.as_slice() {
            [] => String::new(),
            remedies => format!("; add {}", remedies.join(", and ")),
        };
        Err(Error::input(format!(
            "the images of {} are {}, but this model's are {}{remedy}",
            self.name(),
            size(found),
            size([c, h, w])
        )))
    }
}

#[allow(clippy::cast_possible_truncation, reason = "from an f32, or a byte")]
fn single(x: f64) -> f32 {
    x as f32
}

fn size([c, h, w]: [usize; 3]) -> String {
    format!("{c} x {h} x {w} (channels x height x width)")
}

/// Model calls from an image to its latent.
fn calls_to_latent(spec: &CellSpec, registry: &Registry) -> Result<u64> {
    if let Some([_, to]) = spec.grid.window {
        return Err(Error::input(format!(
            "grid.window ends at sigma = {to}, but images are at the clean end; remove it"
        )));
    }
    Ok(Route::inverse(spec, registry)?.calls)
}

/// Refuses latents whose shape is not the model's.
fn check_latents(path: &Path, z: ArrayView4<'_, f64>, [c, h, w]: [usize; 3]) -> Result<()> {
    let found = z.shape();
    if found[1..] == [c, h, w] {
        return Ok(());
    }
    Err(Error::input(format!(
        "{}: the latents are {}, but this model's are {}; choose the model that made them",
        path.display(),
        size([found[1], found[2], found[3]]),
        size([c, h, w])
    )))
}
