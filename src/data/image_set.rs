//! A set of images, with what it is.

use std::{collections::BTreeMap, ops::Range, slice};

use ndarray::{Array4, Axis, Slice};
use sha2::{Digest, Sha256};

use crate::data::{Images, Result, Stored};

/// Bytes of images that are read at once where nothing else says how many.
const PART: usize = 1 << 24;

/// Images, and where they are from. They stay in their files unless they are [held](ImageSet::held).
#[derive(Clone, Debug)]
pub struct ImageSet<I = Stored> {
    /// Rows from the top; one channel is grey, three are red, green, blue.
    pub images: I,
    /// Classes, where the layout has them beside the images; otherwise empty.
    pub classes: Vec<u8>,
    /// Whether the class is part of the records that the hash is of, as in CIFAR-10's binary version.
    pub hashes_classes: bool,
    /// The set's name, and what was done to its images: `fashion-mnist pad:32 rgb`.
    pub name: String,
    /// `train`, `test`, or `all` where there are no splits.
    pub split: String,
    /// How many images were left out, by reason.
    pub excluded: BTreeMap<String, usize>,
    /// What users of the set should be told about how it was read, a line each.
    pub notes: Vec<String>,
}

/// A set whose images are in memory, for those who read them in no order.
pub type HeldSet = ImageSet<Array4<u8>>;

impl ImageSet {
    /// A set without splits and classes.
    pub(super) fn of(images: impl Images + 'static, name: String) -> Self {
        Self {
            images: Stored::new(images),
            classes: vec![],
            hashes_classes: false,
            name,
            split: "all".to_owned(),
            excluded: BTreeMap::new(),
            notes: vec![],
        }
    }

    /// The first `n` images.
    #[must_use]
    pub fn first(mut self, n: usize) -> Self {
        if n < self.len() {
            self.images = self.images.part(0..n);
            self.classes.truncate(n);
        }
        self
    }

    /// The images of a range of positions, as far as there are so many; its name says which.
    #[must_use]
    pub fn range(self, range: Range<usize>) -> Self {
        let mut set = self.first(range.end);
        set.name = format!("{} {}..{}", set.name, range.start, range.end);
        let start = range.start.min(set.len());
        let end = set.len();
        set.images = set.images.part(start..end);
        set.classes.drain(..start.min(set.classes.len()));
        set
    }

    /// Reads all images into memory.
    ///
    /// # Errors
    /// As [`Images::read`].
    pub fn held(self) -> Result<HeldSet> {
        let mut images = Array4::zeros(self.images.shape());
        for positions in self.parts() {
            let read = self.images.read(positions.clone())?;
            images.slice_axis_mut(Axis(0), Slice::from(positions)).assign(&read);
        }
        let Self { images: _, classes, hashes_classes, name, split, excluded, notes } = self;
        Ok(ImageSet { images, classes, hashes_classes, name, split, excluded, notes })
    }
}

impl<I: Images> ImageSet<I> {
    /// The number of images N.
    pub fn len(&self) -> usize {
        self.images.shape()[0]
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shape of one image, `[C, H, W]`.
    pub fn shape(&self) -> [usize; 3] {
        let [_, c, h, w] = self.images.shape();
        [c, h, w]
    }

    /// SHA-256 of the images in order, as hex: the same images have the same hash, however they
    /// were stored. They are all read for it.
    ///
    /// Of CIFAR-10 it is that of the records of its binary version (class, then pixels); of every
    /// other set that of `N,C,H,W`, a line feed, and the pixels, whether it has classes or not.
    ///
    /// # Errors
    /// As [`Images::read`].
    pub fn sha256(&self) -> Result<String> {
        let mut hasher = self.hasher();
        for positions in self.parts() {
            hasher.update(&self.images.read(positions)?);
        }
        Ok(hasher.finish())
    }

    /// That hash, for one who reads the images for another reason: of what was read, and not of what
    /// would be read again.
    pub fn hasher(&self) -> Hasher<'_> {
        let mut hash = Sha256::new();
        let classes = if self.hashes_classes { self.classes.as_slice() } else { &[] };
        if classes.is_empty() {
            let [n, c, h, w] = self.images.shape();
            hash.update(format!("{n},{c},{h},{w}\n"));
        }
        Hasher { hash, classes: classes.iter() }
    }

    /// All positions, as many at once as are not much.
    fn parts(&self) -> impl Iterator<Item = Range<usize>> + use<I> {
        let [n, c, h, w] = self.images.shape();
        let at_once = (PART / (c * h * w).max(1)).max(1);
        (0..n).step_by(at_once).map(move |first| first..(first + at_once).min(n))
    }
}

/// The hash of a set, which is shown its images.
#[derive(Clone, Debug)]
pub struct Hasher<'a> {
    hash: Sha256,
    classes: slice::Iter<'a, u8>,
}

impl Hasher<'_> {
    /// Shows the next images, in their order.
    pub fn update(&mut self, images: &Array4<u8>) {
        for image in images.outer_iter() {
            if let Some(class) = self.classes.next() {
                self.hash.update([*class]);
            }
            match image.as_slice() {
                Some(bytes) => self.hash.update(bytes),
                None => self.hash.update(image.iter().copied().collect::<Vec<u8>>()),
            }
        }
    }

    /// The hash, once all images were shown.
    pub fn finish(self) -> String {
        format!("{:x}", self.hash.finalize())
    }
}

/// The byte of a value in [-1, 1]: clamped, then `floor(x * 255 + 0.5)` on [0, 1].
///
/// The rounding is that of torchvision's `save_image`, in single precision as there; published
/// distances are computed on images that went through it. NaN gives 0.
pub fn to_u8(x: f32) -> u8 {
    let unit = (0.5 * (x + 1.0)).clamp(0.0, 1.0);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped to 0 ..= 255.5
    let byte = (unit * 255.0 + 0.5).floor() as u8;
    byte
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_images_are_another_set_with_another_hash() {
        let images = Array4::from_shape_fn((3, 1, 2, 2), |(n, _, y, x)| {
            u8::try_from(n * 9 + y * 2 + x).unwrap()
        });
        let set = ImageSet::of(images.clone(), "set".into());
        assert_eq!(set.clone().held().unwrap().images, images);
        let hash = |set: &ImageSet| set.sha256().unwrap();
        let two = set.clone().first(2);
        assert_eq!((two.len(), two.shape()), (2, [1, 2, 2]));
        assert_ne!(hash(&two), hash(&set));
        assert_eq!(hash(&set.clone().first(9)), hash(&set));
        let middle = set.clone().range(1..2);
        assert_eq!((middle.len(), middle.images.read(0..1).unwrap()[[0, 0, 0, 0]]), (1, 9));
        assert_eq!(middle.name, "set 1..2");
        assert!(set.clone().range(3..9).is_empty());
        let expected = [&b"2,1,2,2\n"[..], &[0, 1, 2, 3, 9, 10, 11, 12]].concat();
        assert_eq!(hash(&two), crate::data::sha256(&expected));
        // The same in memory, and shown part by part.
        assert_eq!(two.clone().held().unwrap().sha256().unwrap(), hash(&two));
        let mut hasher = two.hasher();
        hasher.update(&two.images.read(0..1).unwrap());
        hasher.update(&two.images.read(1..2).unwrap());
        assert_eq!(hasher.finish(), hash(&two));
        // Classes that were found beside the images do not make another set of them.
        assert_eq!(hash(&ImageSet { classes: vec![3, 4], ..two.clone() }), hash(&two));
        // Those of records do.
        let records = ImageSet { classes: vec![3, 4], hashes_classes: true, ..two };
        let expected = [3, 0, 1, 2, 3, 4, 9, 10, 11, 12];
        assert_eq!(hash(&records), crate::data::sha256(&expected));
    }

    #[test]
    fn the_shape_is_part_of_the_hash_where_there_are_no_labels() {
        let flat = ImageSet::of(Array4::zeros((1, 1, 1, 4)), "set".into());
        let square = ImageSet::of(Array4::zeros((1, 1, 2, 2)), "set".into());
        assert_ne!(flat.sha256().unwrap(), square.sha256().unwrap());
    }

    #[test]
    fn bytes_are_rounded_as_by_torchvision() {
        let cases = [(-1.0, 0), (1.0, 255), (-7.0, 0), (7.0, 255), (0.0, 128), (f32::NAN, 0)];
        for (x, byte) in cases {
            assert_eq!(to_u8(x), byte, "{x}");
        }
    }

    #[test]
    fn every_byte_survives_the_way_to_a_float_and_back() {
        for byte in 0..=u8::MAX {
            assert_eq!(to_u8(f32::from(byte) / 255.0 * 2.0 - 1.0), byte);
        }
    }
}
