//! Images in `.npy` and `.npz` files, as the tools of this field leave them.
//!
//! Type and shape decide, and what they leave open is refused:
//!
//! - u8 is 0 to 255; f32 is -1 to 1 and is clamped and rounded to bytes as when saved ([`to_u8`]).
//!   f32 values that all lie in [0, 1], or reach beyond 16, are of another range and are refused.
//! - Of four axes, the channels are the one of length 1 or 3: axis 1 of `[N, C, H, W]` or the last
//!   of `[N, H, W, C]`. If both could be, or neither, the file is refused. Three axes are grey
//!   images `[N, H, W]`.
//! - Of an `.npz` with several arrays, `arr_0` holds the images (`arr_1` has the labels in files of
//!   class-conditional samples).

use std::{
    fs::File,
    io::{BufReader, Seek, SeekFrom},
    path::Path,
};

use ndarray::{Array4, ArrayD, Axis, Ix4, IxDyn, OwnedRepr};
use ndarray_npy::{NpzReader, ReadNpyError, ReadNpyExt, ReadNpzError};

use super::{Error, Result, to_u8};

/// The magnitude beyond which f32 values are no images in [-1, 1], however far they overshoot.
const LARGEST: f32 = 16.0;

enum Values {
    Bytes(ArrayD<u8>),
    Floats(ArrayD<f32>),
}

/// Whether a path has the ending of an array file.
pub fn is_array(path: &Path) -> bool {
    has_ending(path, "npy") || has_ending(path, "npz")
}

fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(ending))
}

/// Reads images: `[N, C, H, W]`.
///
/// # Errors
/// A file that cannot be read, is damaged, or whose type, shape or values are not those of images.
pub fn read(path: &Path) -> Result<Array4<u8>> {
    let refuse = |problem: String| Error::Format { path: path.to_path_buf(), problem };
    match open(path)? {
        Values::Bytes(array) => Ok(channels_first(array).map_err(refuse)?),
        Values::Floats(array) => {
            let images = channels_first(array).map_err(refuse)?;
            check_range(&images).map_err(refuse)?;
            Ok(images.mapv(to_u8))
        }
    }
}

/// Reads images in [-1, 1] without rounding f32 values to bytes: `[N, C, H, W]`.
///
/// # Errors
/// As [`read`].
pub fn read_floats(path: &Path) -> Result<Array4<f32>> {
    let refuse = |problem: String| Error::Format { path: path.to_path_buf(), problem };
    match open(path)? {
        Values::Bytes(array) => {
            let images = channels_first(array).map_err(refuse)?;
            Ok(images.mapv(|byte| f32::from(byte) / 127.5 - 1.0))
        }
        Values::Floats(array) => {
            let images = channels_first(array).map_err(refuse)?;
            check_range(&images).map_err(refuse)?;
            Ok(images)
        }
    }
}

fn open(path: &Path) -> Result<Values> {
    let file =
        File::open(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
    if has_ending(path, "npz") { from_npz(file) } else { from_npy(file) }
        .map_err(|problem| Error::Format { path: path.to_path_buf(), problem })
}

fn from_npy(mut file: File) -> Result<Values, String> {
    match ArrayD::<u8>::read_npy(BufReader::new(&mut file)) {
        Ok(array) => Ok(Values::Bytes(array)),
        Err(ReadNpyError::WrongDescriptor(_)) => {
            file.seek(SeekFrom::Start(0)).map_err(|error| error.to_string())?;
            let array = ArrayD::<f32>::read_npy(BufReader::new(file));
            array.map(Values::Floats).map_err(|error| describe(&error))
        }
        Err(error) => Err(describe(&error)),
    }
}

fn from_npz(file: File) -> Result<Values, String> {
    let damaged = |error: ReadNpzError| match error {
        ReadNpzError::Npy(error) => describe(&error),
        ReadNpzError::Zip(error) => {
            format!("it cannot be read ({error}): it is damaged or no .npz file")
        }
    };
    let mut npz = NpzReader::new(BufReader::new(file)).map_err(damaged)?;
    let names = npz.names().map_err(damaged)?;
    let name = match names.as_slice() {
        [] => return Err("it holds no array".to_owned()),
        [only] => only.clone(),
        several if several.iter().any(|name| name == "arr_0") => "arr_0".to_owned(),
        several => {
            return Err(format!(
                "it holds the arrays {}, and none is called arr_0: save the images alone",
                several.join(", ")
            ));
        }
    };
    match npz.by_name::<OwnedRepr<u8>, IxDyn>(&name) {
        Ok(array) => Ok(Values::Bytes(array)),
        Err(ReadNpzError::Npy(ReadNpyError::WrongDescriptor(_))) => npz
            .by_name::<OwnedRepr<f32>, IxDyn>(&name)
            .map(Values::Floats)
            .map_err(|error| format!("`{name}`: {}", damaged(error))),
        Err(error) => Err(format!("`{name}`: {}", damaged(error))),
    }
}

fn describe(error: &ReadNpyError) -> String {
    match error {
        ReadNpyError::WrongDescriptor(found) => format!(
            "its values are of type {found}; images are '|u1' (0 to 255) or '<f4' (-1 to 1): \
             convert with x.astype(numpy.float32)"
        ),
        other => format!("it cannot be read ({other}): it is damaged or no .npy file"),
    }
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

fn check_range(images: &Array4<f32>) -> Result<(), String> {
    let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
    for (i, image) in images.outer_iter().enumerate() {
        for &x in image {
            if !x.is_finite() {
                return Err(format!("image {i} holds {x}: leave out samples that diverged"));
            }
            low = low.min(x);
            high = high.max(x);
        }
    }
    let range = format!("its f32 values range from {low} to {high}; images in f32 are -1 to 1");
    if low >= 0.0 && high <= 1.0 {
        return Err(format!("{range}: convert with 2 * x - 1"));
    }
    if low < -LARGEST || high > LARGEST {
        return Err(format!("{range}: convert with x / 127.5 - 1, or save bytes as uint8"));
    }
    Ok(())
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
        read(&save(&dir, array)).unwrap_err().to_string()
    }

    #[test]
    fn bytes_and_floats_in_either_order_of_axes_are_the_same_images() {
        let dir = TempDir::new().unwrap();
        let images = Array4::from_shape_fn((2, 3, 5, 4), |(n, c, h, w)| {
            u8::try_from(n * 100 + c * 20 + h * 4 + w).unwrap()
        });
        let last = images.clone().permuted_axes([0, 2, 3, 1]).as_standard_layout().into_owned();
        let floats = images.mapv(|byte| f32::from(byte) / 127.5 - 1.0);
        assert_eq!(read(&save(&dir, &images)).unwrap(), images);
        assert_eq!(read(&save(&dir, &last)).unwrap(), images);
        assert_eq!(read(&save(&dir, &floats)).unwrap(), images);
        // In Fortran's order, as numpy leaves a transposed array.
        let fortran = images.clone().reversed_axes().as_standard_layout().into_owned();
        assert_eq!(read(&save(&dir, &fortran.reversed_axes())).unwrap(), images);
        let grey = Array3::<u8>::from_elem((2, 5, 4), 9);
        assert_eq!(read(&save(&dir, &grey)).unwrap(), Array4::from_elem((2, 1, 5, 4), 9));
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
        assert_eq!(read(&path).unwrap(), Array4::from_elem((2, 3, 4, 4), 5));
        let mut npz = NpzWriter::new(File::create(&path).unwrap());
        npz.add_array("a", &images).unwrap();
        npz.add_array("b", &images).unwrap();
        npz.finish().unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("the arrays a, b, and none is called arr_0"), "{error}");
        std::fs::write(&path, "no zip").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("no .npz file"));
    }

    #[test]
    fn another_type_rank_or_range_is_refused_with_what_to_do() {
        for (error, expected) in [
            (refusal(&Array4::<f64>::zeros((1, 3, 4, 4))), "type '<f8'"),
            (refusal(&Array2::<u8>::zeros((3, 4))), "shape is [3, 4]; images are [N, C, H, W]"),
            (refusal(&Array4::<u8>::zeros((2, 3, 8, 3))), "both axis 1 and the last"),
            (refusal(&Array4::<u8>::zeros((2, 4, 8, 8))), "neither axis 1"),
            (refusal(&Array4::<u8>::zeros((0, 3, 8, 8))), "no images"),
            (refusal(&Array4::<f32>::zeros((1, 3, 4, 4))), "range from 0 to 0"),
            (refusal(&Array4::<f32>::from_elem((1, 3, 4, 4), 200.0)), "x / 127.5 - 1"),
            (refusal(&Array4::<f32>::from_elem((1, 3, 4, 4), f32::NAN)), "image 0 holds NaN"),
        ] {
            assert!(error.contains(expected), "{error}");
        }
        let dir = TempDir::new().unwrap();
        let path = save(&dir, &Array4::<u8>::zeros((2, 3, 8, 8)));
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("it is damaged"));
    }
}
