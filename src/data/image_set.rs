//! A set of images in memory, with what it is.

use std::{collections::BTreeMap, path::PathBuf};

use ndarray::{Array4, Axis, Slice};
use sha2::{Digest, Sha256};

/// Images, and where they are from.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageSet {
    /// `[N, C, H, W]`, rows from the top; one channel is grey, three are red, green, blue.
    pub images: Array4<u8>,
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
    /// The file of each image, where each has one; otherwise empty.
    pub files: Vec<PathBuf>,
    /// What users of the set should be told about how it was read, a line each.
    pub notes: Vec<String>,
}

impl ImageSet {
    /// A set without splits and classes.
    pub(super) fn of(images: Array4<u8>, name: String) -> Self {
        Self {
            images,
            classes: vec![],
            hashes_classes: false,
            name,
            split: "all".to_owned(),
            excluded: BTreeMap::new(),
            files: vec![],
            notes: vec![],
        }
    }

    /// The number of images N.
    pub fn len(&self) -> usize {
        self.images.len_of(Axis(0))
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shape of one image, `[C, H, W]`.
    pub fn shape(&self) -> [usize; 3] {
        let (_, c, h, w) = self.images.dim();
        [c, h, w]
    }

    /// The first `n` images.
    #[must_use]
    pub fn first(mut self, n: usize) -> Self {
        let n = n.min(self.len());
        self.images.slice_axis_inplace(Axis(0), Slice::from(..n));
        self.classes.truncate(n);
        self.files.truncate(n);
        self
    }

    /// The images of a range of positions, as far as there are so many; its name says which.
    #[must_use]
    pub fn range(self, range: std::ops::Range<usize>) -> Self {
        let mut set = self.first(range.end);
        set.name = format!("{} {}..{}", set.name, range.start, range.end);
        let start = range.start.min(set.len());
        set.images.slice_axis_inplace(Axis(0), Slice::from(start..));
        set.classes.drain(..start.min(set.classes.len()));
        set.files.drain(..start.min(set.files.len()));
        set
    }

    /// SHA-256 of the images in order, as hex: the same images have the same hash, however they
    /// were stored.
    ///
    /// Of CIFAR-10 it is that of the records of its binary version (class, then pixels); of every
    /// other set that of `N,C,H,W`, a line feed, and the pixels, whether it has classes or not.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        let classes = if self.hashes_classes { self.classes.as_slice() } else { &[] };
        if classes.is_empty() {
            let (n, c, h, w) = self.images.dim();
            hash.update(format!("{n},{c},{h},{w}\n"));
        }
        for (i, image) in self.images.outer_iter().enumerate() {
            if let Some(class) = classes.get(i) {
                hash.update([*class]);
            }
            match image.as_slice() {
                Some(bytes) => hash.update(bytes),
                None => hash.update(image.iter().copied().collect::<Vec<u8>>()),
            }
        }
        format!("{:x}", hash.finalize())
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
        let set = ImageSet::of(images, "set".into());
        let two = set.clone().first(2);
        assert_eq!((two.len(), two.shape()), (2, [1, 2, 2]));
        assert_ne!(two.sha256(), set.sha256());
        assert_eq!(set.clone().first(9), set);
        let middle = set.clone().range(1..2);
        assert_eq!((middle.len(), middle.images[[0, 0, 0, 0]]), (1, 9));
        assert_eq!(middle.name, "set 1..2");
        assert!(set.clone().range(3..9).is_empty());
        let expected = [&b"2,1,2,2\n"[..], &[0, 1, 2, 3, 9, 10, 11, 12]].concat();
        assert_eq!(two.sha256(), crate::data::sha256(&expected));
        // Classes that were found beside the images do not make another set of them.
        assert_eq!(ImageSet { classes: vec![3, 4], ..two.clone() }.sha256(), two.sha256());
    }

    #[test]
    fn the_shape_is_part_of_the_hash_where_there_are_no_labels() {
        let flat = ImageSet::of(Array4::zeros((1, 1, 1, 4)), "set".into());
        let square = ImageSet::of(Array4::zeros((1, 1, 2, 2)), "set".into());
        assert_ne!(flat.sha256(), square.sha256());
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
