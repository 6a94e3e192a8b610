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

use std::{fs::File, io::BufReader, path::Path};

use ndarray::{Array4, ArrayD, Axis, Ix4};

use crate::data::file;
use crate::data::{
    Error, RangeError, Result, ValueRange,
    numpy::{self, Npz, Values},
    to_u8, value_range,
};

/// The images of an array file.
#[derive(Clone, Debug, PartialEq)]
pub struct Images<A> {
    /// `[N, C, H, W]`.
    pub images: Array4<A>,
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

/// Reads images; floats are in the range that is stated, or in [-1, 1].
///
/// # Errors
/// A file that cannot be read, is damaged, or whose type, shape or values are not those of images.
pub fn read(path: &Path, range: Option<ValueRange>) -> Result<Images<u8>> {
    match open(path, range)? {
        Found::Bytes(images) => Ok(Images { images, note: None }),
        Found::Floats(images, note) => Ok(Images { images: images.mapv(to_u8), note: Some(note) }),
    }
}

/// Reads images in [-1, 1] without rounding floats to bytes.
///
/// # Errors
/// As [`read`].
pub fn read_floats(path: &Path, range: Option<ValueRange>) -> Result<Images<f32>> {
    match open(path, range)? {
        Found::Bytes(images) => {
            let images = images.mapv(|byte| f32::from(byte) / 127.5 - 1.0);
            Ok(Images { images, note: None })
        }
        Found::Floats(images, note) => Ok(Images { images, note: Some(note) }),
    }
}

enum Found {
    Bytes(Array4<u8>),
    /// In [-1, 1], and what was found of their range.
    Floats(Array4<f32>, String),
}

fn open(path: &Path, range: Option<ValueRange>) -> Result<Found> {
    let file =
        file::open(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
    let length = file::length(&file);
    let file = BufReader::new(file);
    let values = if has_ending(path, "npz") { from_npz(file) } else { from_npy(file, length) };
    let format = |problem| Error::Format { path: path.to_path_buf(), problem };
    let beyond = |problem| Error::Range { path: path.to_path_buf(), problem };
    let floats = |array: ArrayD<f32>| {
        let images = channels_first(array).map_err(format)?;
        let (images, note) = value_range::signed(images, range).map_err(beyond)?;
        Ok(Found::Floats(images, format!("{}: {note}", path.display())))
    };
    match values.map_err(format)? {
        Values::Bytes(array) => match range {
            Some(stated) if stated != ValueRange::BYTES => {
                Err(beyond(RangeError::Bytes { stated }))
            }
            _ => channels_first(array).map(Found::Bytes).map_err(format),
        },
        Values::Single(array) => floats(array),
        #[allow(clippy::cast_possible_truncation, reason = "images are of single precision")]
        Values::Double(array) => floats(array.mapv(|x| x as f32)),
    }
}

fn from_npy(mut file: BufReader<File>, length: Option<u64>) -> Result<Values, String> {
    numpy::read(&mut file, length).map_err(|problem| problem.to_string())
}

fn from_npz(file: BufReader<File>) -> Result<Values, String> {
    let mut npz = Npz::open(file)?;
    let names = npz.names();
    let name = match names.as_slice() {
        [] => return Err("it holds no array".to_owned()),
        [only] => only,
        several if several.iter().any(|name| name == "arr_0") => "arr_0",
        several => {
            return Err(format!(
                "it holds the arrays {}, and none is called arr_0: save the images alone",
                several.join(", ")
            ));
        }
    };
    npz.read(name)
}

fn channels_first<A: Clone>(array: ArrayD<A>) -> Result<Array4<A>, String> {
    let shape = array.shape().to_vec();
    let array = if shape.len() == 3 { array.insert_axis(Axis(1)) } else { array };
    let Ok(array) = array.into_dimensionality::<Ix4>() else {
        return Err(format!(
            "its shape is {shape:?}; images are [N, C, H, W], [N, H, W, C], or grey [N, H, W]"
        ));
    };
    if shape.contains(&0) {
        return Err(format!("its shape is {shape:?}: it holds no images"));
    }
    let is_colour = |axis: usize| [1, 3].contains(&array.shape()[axis]);
    match (shape.len() == 3 || is_colour(1), shape.len() == 4 && is_colour(3)) {
        // Most arrays are in order, and large.
        (true, false) if array.is_standard_layout() => Ok(array),
        (true, false) => Ok(array.as_standard_layout().into_owned()),
        (false, true) => Ok(array.permuted_axes([0, 3, 1, 2]).as_standard_layout().into_owned()),
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
    use std::path::PathBuf;

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
        read(&save(&dir, array), None).unwrap_err().to_string()
    }

    fn pixels(path: &Path) -> Array4<u8> {
        read(path, None).unwrap().images
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
        let mut npz = NpzWriter::new(File::create(&path).unwrap());
        npz.add_array("a", &images).unwrap();
        npz.add_array("b", &images).unwrap();
        npz.finish().unwrap();
        let error = read(&path, None).unwrap_err().to_string();
        assert!(error.contains("the arrays a, b, and none is called arr_0"), "{error}");
        std::fs::write(&path, "no zip").unwrap();
        assert!(read(&path, None).unwrap_err().to_string().contains("no .npz file"));
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
        let error = read(&bytes, "0,1".parse().ok()).unwrap_err().to_string();
        assert!(error.contains("bytes, whose range is [0, 255], not [0, 1] as stated"));
        assert!(read(&bytes, Some(ValueRange::BYTES)).is_ok());
        let path = save(&dir, &Array4::<u8>::zeros((2, 3, 8, 8)));
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert!(read(&path, None).unwrap_err().to_string().contains("it is damaged"));
    }
}
