//! Images in `.npy` and `.npz` files, as the tools of this field leave them.
//!
//! Type and shape decide, and what they leave open is refused:
//!
//! - u8 is 0 to 255. Floats are -1 to 1 or of the range that is stated (`data/value_range.rs`), and
//!   are clamped and rounded to bytes as when saved ([`to_u8`]).
//! - Of four axes, the channels are the one of length 1 or 3: axis 1 of `[N, C, H, W]` or the last
//!   of `[N, H, W, C]`. If both could be, or neither, the file is refused. Three axes are grey
//!   images `[N, H, W]`.
//! - Of an `.npz` with several arrays, `arr_0` holds the images (`arr_1` has the labels in files of
//!   class-conditional samples).

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use ndarray::{Array4, ArrayD, Axis, Ix4, Slice};

use crate::data::file;
use crate::data::{
    Error, Images, RangeError, Result, ValueRange,
    content::Content,
    numpy::{self, Rows, Values},
    to_u8,
    value_range::Survey,
};

/// Values that are surveyed at once.
const PART: usize = 1 << 22;

/// The images of an array file, which are read from it each time; floats are rounded to bytes.
pub struct Arrays {
    path: PathBuf,
    rows: Rows,
    shape: [usize; 4],
    /// Of floats, the values of black and white.
    range: ValueRange,
}

/// Images in [-1, 1], in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Floats {
    /// `[N, C, H, W]`.
    pub images: Array4<f32>,
    /// What was found of the range of floats; none of bytes.
    pub note: Option<String>,
}

/// Whether a path has the ending of an array file.
pub fn is_array(path: &Path) -> bool {
    has_ending(path, "npy") || has_ending(path, "npz")
}

fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(ending))
}

/// Opens images, and says what was found of the range of floats, which are all read for it; they are
/// in the range that is stated, or in [-1, 1].
///
/// # Errors
/// A file that cannot be read, is damaged, or whose type, shape or values are not those of images.
pub fn open(path: &Path, range: Option<ValueRange>) -> Result<(Arrays, Option<String>)> {
    let read = |source| Error::Read { path: path.to_path_buf(), source };
    let format = |problem| Error::Format { path: path.to_path_buf(), problem };
    let beyond = |problem| Error::Range { path: path.to_path_buf(), problem };
    let file = file::open(path).map_err(read)?;
    let rows = if has_ending(path, "npz") {
        numpy::open_member(file, images_of).map_err(format)?
    } else {
        let content = Content::plain(file).map_err(read)?;
        let length = content.length().map_err(read)?;
        Rows::open(content, length).map_err(|problem| format(problem.to_string()))?
    };
    let shape = images_shape(rows.shape()).map_err(format)?;
    let mut arrays = Arrays {
        path: path.to_path_buf(),
        rows,
        shape,
        range: range.unwrap_or(ValueRange::SIGNED),
    };
    if arrays.rows.is_bytes() {
        return match range {
            Some(stated) if stated != ValueRange::BYTES => {
                Err(beyond(RangeError::Bytes { stated }))
            }
            _ => Ok((arrays, None)),
        };
    }
    let [n, c, h, w] = shape;
    let mut survey = Survey::new(n * c * h * w, range);
    let at_once = (PART / (c * h * w)).max(1);
    for first in (0..n).step_by(at_once) {
        let part = arrays.stored(first..(first + at_once).min(n))?;
        survey.show(part.view()).map_err(beyond)?;
    }
    let (range, note) = survey.verdict().map_err(beyond)?;
    arrays.range = range;
    Ok((arrays, Some(format!("{}: {note}", path.display()))))
}

/// Reads images in [-1, 1] without rounding floats to bytes.
///
/// # Errors
/// As [`open`].
pub fn read_floats(path: &Path, range: Option<ValueRange>) -> Result<Floats> {
    let (arrays, note) = open(path, range)?;
    let mut images = Array4::zeros(arrays.shape);
    let [n, c, h, w] = arrays.shape;
    let at_once = (PART / (c * h * w)).max(1);
    for first in (0..n).step_by(at_once) {
        let positions = first..(first + at_once).min(n);
        let part = arrays.signed(positions.clone())?;
        images.slice_axis_mut(Axis(0), Slice::from(positions)).assign(&part);
    }
    Ok(Floats { images, note })
}

impl Arrays {
    /// Images as stored, in single precision.
    #[allow(clippy::cast_possible_truncation, reason = "images are of single precision")]
    fn stored(&self, positions: Range<usize>) -> Result<Array4<f32>> {
        Ok(match self.values(positions)? {
            Values::Bytes(array) => self.channels_first(array).mapv(f32::from),
            Values::Single(array) => self.channels_first(array),
            Values::Double(array) => self.channels_first(array.mapv(|x| x as f32)),
        })
    }

    /// Images in [-1, 1].
    fn signed(&self, positions: Range<usize>) -> Result<Array4<f32>> {
        let bytes = self.rows.is_bytes();
        Ok(self
            .stored(positions)?
            .mapv_into(|x| if bytes { x / 127.5 - 1.0 } else { self.range.to_signed(x) }))
    }

    fn values(&self, positions: Range<usize>) -> Result<Values> {
        self.rows.read(positions).map_err(|problem| Error::Format {
            path: self.path.clone(),
            problem: problem.to_string(),
        })
    }

    fn channels_first<A: Clone>(&self, array: ArrayD<A>) -> Array4<A> {
        let array = if array.ndim() == 3 { array.insert_axis(Axis(1)) } else { array };
        let array = array.into_dimensionality::<Ix4>().expect("invariant: three or four axes");
        let last = array.shape()[1..] != self.shape[1..];
        let array = if last { array.permuted_axes([0, 3, 1, 2]) } else { array };
        // Most arrays are in order, and large.
        if array.is_standard_layout() { array } else { array.as_standard_layout().into_owned() }
    }
}

impl Images for Arrays {
    fn shape(&self) -> [usize; 4] {
        self.shape
    }

    fn read(&self, positions: Range<usize>) -> Result<Array4<u8>> {
        if self.rows.is_bytes()
            && let Values::Bytes(array) = self.values(positions.clone())?
        {
            return Ok(self.channels_first(array));
        }
        Ok(self.signed(positions)?.mapv(to_u8))
    }
}

/// Which array of an archive holds the images.
fn images_of(names: &[String]) -> Result<String, String> {
    match names {
        [] => Err("it holds no array".to_owned()),
        [only] => Ok(only.clone()),
        several if several.iter().any(|name| name == "arr_0") => Ok("arr_0".to_owned()),
        several => Err(format!(
            "it holds the arrays {}, and none is called arr_0: save the images alone",
            several.join(", ")
        )),
    }
}

/// The shape of images `[N, C, H, W]` in an array of that shape.
fn images_shape(shape: &[usize]) -> Result<[usize; 4], String> {
    let (n, [a, b, c]) = match *shape {
        [n, h, w] => (n, [1, h, w]),
        [n, a, b, c] => (n, [a, b, c]),
        _ => {
            return Err(format!(
                "its shape is {shape:?}; images are [N, C, H, W], [N, H, W, C], or grey [N, H, W]"
            ));
        }
    };
    if shape.contains(&0) {
        return Err(format!("its shape is {shape:?}: it holds no images"));
    }
    let is_colour = |length: usize| [1, 3].contains(&length);
    match (is_colour(a), shape.len() == 4 && is_colour(c)) {
        (true, false) => Ok([n, a, b, c]),
        (false, true) => Ok([n, c, a, b]),
        (true, true) => Err(format!(
            "its shape is {shape:?}: both axis 1 and the last could be the channels; images this \
             narrow are not read from arrays, save them as PNG"
        )),
        (false, false) => Err(format!(
            "its shape is {shape:?}: neither axis 1 of [N, C, H, W] nor the last of [N, H, W, C] \
             is 1 or 3, the channels of grey and colour"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use ndarray::{Array2, Array3};
    use ndarray_npy::{NpzWriter, WritableElement, WriteNpyExt};
    use tempfile::TempDir;

    use super::*;

    fn save<A: WritableElement, D: ndarray::Dimension>(
        dir: &TempDir,
        array: &ndarray::Array<A, D>,
    ) -> PathBuf {
        let path = dir.path().join("x.npy");
        array.write_npy(File::create(&path).unwrap()).unwrap();
        path
    }

    fn refusal<A: WritableElement, D: ndarray::Dimension>(array: &ndarray::Array<A, D>) -> String {
        let dir = TempDir::new().unwrap();
        open(&save(&dir, array), None).err().unwrap().to_string()
    }

    /// All images; those of each position read alone must be the same.
    fn pixels(path: &Path) -> Array4<u8> {
        let images = open(path, None).unwrap().0;
        let n = images.shape()[0];
        let all = images.read(0..n).unwrap();
        for i in (0..n).rev() {
            let one = images.read(i..i + 1).unwrap();
            assert_eq!(one.index_axis(Axis(0), 0), all.index_axis(Axis(0), i));
        }
        all
    }

    #[test]
    fn bytes_and_floats_in_either_order_of_axes_are_the_same_images() {
        let dir = TempDir::new().unwrap();
        let images = Array4::from_shape_fn((2, 3, 5, 4), |(n, c, h, w)| {
            u8::try_from(n * 100 + c * 20 + h * 4 + w).unwrap()
        });
        let last = images.clone().permuted_axes([0, 2, 3, 1]).as_standard_layout().into_owned();
        let floats = images.mapv(|byte| f32::from(byte) / 127.5 - 1.0);
        assert_eq!(pixels(&save(&dir, &floats.mapv(f64::from))), images);
        assert_eq!(pixels(&save(&dir, &images)), images);
        assert_eq!(pixels(&save(&dir, &last)), images);
        assert_eq!(pixels(&save(&dir, &floats)), images);
        // In Fortran's order, as numpy leaves a transposed array.
        let fortran = images.clone().reversed_axes().as_standard_layout().into_owned();
        assert_eq!(pixels(&save(&dir, &fortran.reversed_axes())), images);
        let grey = Array3::<u8>::from_elem((2, 5, 4), 9);
        assert_eq!(pixels(&save(&dir, &grey)), Array4::from_elem((2, 1, 5, 4), 9));
    }

    #[test]
    fn an_npz_gives_its_first_array_and_labels_are_passed_over() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("x.npz");
        let images = Array4::<u8>::from_elem((2, 4, 4, 3), 5);
        let mut npz = NpzWriter::new_compressed(File::create(&path).unwrap());
        npz.add_array("arr_0", &images).unwrap();
        npz.add_array("arr_1", &ndarray::array![1_i64, 2]).unwrap();
        npz.finish().unwrap();
        assert_eq!(pixels(&path), Array4::from_elem((2, 3, 4, 4), 5));
        // A flipped bit of what is packed is seen before the first image is.
        let whole = std::fs::read(&path).unwrap();
        let at = whole.windows(9).position(|name| name == b"arr_0.npy").unwrap() + 20;
        let mut torn = whole.clone();
        torn[at] ^= 1;
        std::fs::write(&path, torn).unwrap();
        assert!(
            open(&path, None).err().unwrap().to_string().contains("`arr_0`: it cannot be read")
        );
        // Not packed, as numpy.savez writes it.
        let mut npz = NpzWriter::new(File::create(&path).unwrap());
        npz.add_array("arr_0", &images.mapv(|byte| f32::from(byte) / 127.5 - 1.0)).unwrap();
        npz.finish().unwrap();
        let stated = open(&path, Some(ValueRange::SIGNED)).unwrap().0;
        assert_eq!(stated.read(1..2).unwrap(), Array4::from_elem((1, 3, 4, 4), 5));
        let mut npz = NpzWriter::new(File::create(&path).unwrap());
        npz.add_array("a", &images).unwrap();
        npz.add_array("b", &images).unwrap();
        npz.finish().unwrap();
        let error = open(&path, None).err().unwrap().to_string();
        assert!(error.contains("the arrays a, b, and none is called arr_0"), "{error}");
        std::fs::write(&path, "no zip").unwrap();
        assert!(open(&path, None).err().unwrap().to_string().contains("no .npz file"));
    }

    #[test]
    fn another_type_rank_or_range_is_refused_with_what_to_do() {
        for (error, expected) in [
            (refusal(&Array4::<i64>::zeros((1, 3, 4, 4))), "type <i8"),
            (refusal(&Array2::<u8>::zeros((3, 4))), "shape is [3, 4]; images are [N, C, H, W]"),
            (refusal(&Array4::<u8>::zeros((2, 3, 8, 3))), "both axis 1 and the last"),
            (refusal(&Array4::<u8>::zeros((2, 4, 8, 8))), "neither axis 1"),
            (refusal(&Array4::<u8>::zeros((0, 3, 8, 8))), "no images"),
            (refusal(&Array4::<f32>::zeros((1, 3, 4, 4))), "from 0.0000 to 0.0000"),
            (refusal(&Array4::<f32>::from_elem((1, 3, 4, 4), 200.0)), "0 to 255?"),
            (refusal(&Array4::<f32>::from_elem((1, 3, 4, 4), f32::NAN)), "image 0 holds NaN"),
        ] {
            assert!(error.contains(expected), "{error}");
        }
        let dir = TempDir::new().unwrap();
        let bytes = save(&dir, &Array4::<u8>::zeros((1, 3, 4, 4)));
        let error = open(&bytes, "0,1".parse().ok()).err().unwrap().to_string();
        assert!(error.contains("bytes, whose range is [0, 255], not [0, 1] as stated"));
        assert!(open(&bytes, Some(ValueRange::BYTES)).is_ok());
        let path = save(&dir, &Array4::<u8>::zeros((2, 3, 8, 8)));
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert!(open(&path, None).err().unwrap().to_string().contains("it is damaged"));
    }
}
