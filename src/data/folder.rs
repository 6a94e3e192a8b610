//! Folders of images: PNG and JPEG, at any depth, in the order of their paths.
//!
//! What is not `.png`, `.jpg` or `.jpeg`, and what starts with a dot, is passed over. A set is
//! grey if all of its images are, otherwise all of it is in colour. 16-bit channels are rounded to
//! 8; an orientation in a file's metadata is ignored, as by the usual tools of this field; an image
//! with transparent pixels is refused, because it has no one colour there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use image::{ColorType, DynamicImage, GenericImageView, ImageReader};
use ndarray::Array4;
use rayon::prelude::*;

use super::{Error, Fit, Result, fit::to_array};

/// Reads the images of a folder, at most `limit`, each resized on its way in: `[N, C, H, W]`.
///
/// # Errors
/// A folder without images, a file that is not what its name says, or files of several sizes once
/// resized; the first such file is named.
pub fn read(folder: &Path, limit: Option<usize>, fit: Fit) -> Result<Array4<u8>> {
    let mut files = vec![];
    let mut others = 0;
    list(folder, &mut files, &mut others)?;
    files.sort();
    files.truncate(limit.unwrap_or(usize::MAX));
    if files.is_empty() {
        let problem = match others {
            0 => "is empty: expected images, .png or .jpg".to_owned(),
            _ => "holds files, but no .png or .jpg".to_owned(),
        };
        return Err(Error::Empty { path: folder.to_path_buf(), problem });
    }
    read_files(&files, fit)
}

/// Reads files, at least one, in their order.
pub(super) fn read_files(files: &[PathBuf], fit: Fit) -> Result<Array4<u8>> {
    let images: Vec<Result<DynamicImage>> =
        files.par_iter().map(|path| fit.resize(decode(path)?)).collect();
    // In order, so that the message does not depend on which thread was the first.
    let images = images.into_iter().collect::<Result<Vec<_>>>()?;
    let expected = images[0].dimensions();
    for (path, image) in files.iter().zip(&images) {
        let found = image.dimensions();
        if found != expected {
            let (path, first) = (path.clone(), files[0].clone());
            return Err(Error::Sizes { path, found, first, expected });
        }
    }
    let colour = images.iter().any(|image| image.color().has_color());
    Ok(fit.colour(to_array(&images, colour)))
}

fn list(folder: &Path, files: &mut Vec<PathBuf>, others: &mut usize) -> Result<()> {
    let failed = |source| Error::Read { path: folder.to_path_buf(), source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        // A link to a folder is not followed: it may lead back here.
        if entry.file_type().map_err(failed)?.is_dir() {
            list(&path, files, others)?;
        } else if is_image(&path) {
            files.push(path);
        } else {
            *others += 1;
        }
    }
    Ok(())
}

/// Whether a path has the ending of an image that is read.
pub(super) fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| {
        ["png", "jpg", "jpeg"].iter().any(|known| known.eq_ignore_ascii_case(extension))
    })
}

/// One image, grey or in colour, of 8 bits a channel.
fn decode(path: &Path) -> Result<DynamicImage> {
    let refuse = |problem: String| Error::Format { path: path.to_path_buf(), problem };
    let read = |source| Error::Read { path: path.to_path_buf(), source };
    let reader = ImageReader::open(path).map_err(read)?.with_guessed_format().map_err(read)?;
    let image = reader.decode().map_err(|error| {
        refuse(format!("it cannot be decoded ({error}): it is damaged or no PNG or JPEG"))
    })?;
    if image.color().has_alpha() && image.to_rgba8().pixels().any(|pixel| pixel.0[3] != u8::MAX) {
        return Err(refuse(
            "it has transparent pixels: flatten it onto a background first".to_owned(),
        ));
    }
    Ok(match image.color() {
        ColorType::L8 | ColorType::Rgb8 => image,
        color if color.has_color() => image.into_rgb8().into(),
        _ => image.into_luma8().into(),
    })
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, Luma, Rgb, RgbImage, Rgba, RgbaImage};
    use tempfile::TempDir;

    use super::*;
    use crate::data::Resize;

    fn colour(dir: &Path, name: &str, side: u32, value: u8) {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let image = RgbImage::from_fn(side, side, |x, _| Rgb([value, u8::try_from(x).unwrap(), 9]));
        image.save(path).unwrap();
    }

    #[test]
    fn images_come_in_the_order_of_their_paths() {
        let dir = TempDir::new().unwrap();
        for (name, value) in [("b.png", 20), ("a/z.png", 10), ("c.PNG", 30)] {
            colour(dir.path(), name, 4, value);
        }
        fs::write(dir.path().join("README.md"), "no image").unwrap();
        fs::write(dir.path().join(".hidden.png"), "no image").unwrap();
        let images = read(dir.path(), None, Fit::default()).unwrap();
        assert_eq!(images.dim(), (3, 3, 4, 4));
        assert_eq!(
            [images[[0, 0, 0, 0]], images[[1, 0, 0, 0]], images[[2, 0, 3, 3]]],
            [10, 20, 30]
        );
        assert_eq!(images[[1, 1, 0, 3]], 3);
        assert_eq!(read(dir.path(), Some(2), Fit::default()).unwrap().dim().0, 2);
    }

    #[test]
    fn grey_stays_grey_until_one_image_is_in_colour() {
        let dir = TempDir::new().unwrap();
        GrayImage::from_pixel(4, 4, Luma([7])).save(dir.path().join("a.png")).unwrap();
        assert_eq!(read(dir.path(), None, Fit::default()).unwrap().dim(), (1, 1, 4, 4));
        let rgb = Fit { rgb: true, ..Fit::default() };
        assert_eq!(read(dir.path(), None, rgb).unwrap(), Array4::from_elem((1, 3, 4, 4), 7));
        colour(dir.path(), "b.jpg", 4, 200);
        let images = read(dir.path(), None, Fit::default()).unwrap();
        assert_eq!(images.dim(), (2, 3, 4, 4));
        assert_eq!(images[[0, 2, 1, 1]], 7);
        assert!(images[[1, 0, 0, 0]].abs_diff(200) < 8, "a JPEG is near what was stored");
    }

    #[test]
    fn the_first_file_of_another_size_is_named_and_a_crop_makes_them_equal() {
        let dir = TempDir::new().unwrap();
        for (name, side) in [("a.png", 8), ("b.png", 8), ("c.png", 6), ("d.png", 5)] {
            colour(dir.path(), name, side, 1);
        }
        let error = read(dir.path(), None, Fit::default()).unwrap_err();
        assert!(
            matches!(&error, Error::Sizes { path, found: (6, 6), expected: (8, 8), .. }
            if path.ends_with("c.png")),
            "{error}"
        );
        let fit = Fit { resize: Resize::CenterCrop(4), ..Fit::default() };
        assert_eq!(read(dir.path(), None, fit).unwrap().dim(), (4, 3, 4, 4));
    }

    #[test]
    fn damaged_and_transparent_images_are_refused_by_name() {
        let dir = TempDir::new().unwrap();
        let error = read(dir.path(), None, Fit::default()).unwrap_err().to_string();
        assert!(error.contains("is empty: expected images"), "{error}");
        fs::write(dir.path().join("a.png"), b"\x89PNG\r\n\x1a\nhalf").unwrap();
        let error = read(dir.path(), None, Fit::default()).unwrap_err().to_string();
        assert!(error.contains("a.png: it cannot be decoded"), "{error}");
        RgbaImage::from_pixel(2, 2, Rgba([1, 2, 3, 4])).save(dir.path().join("a.png")).unwrap();
        let error = read(dir.path(), None, Fit::default()).unwrap_err().to_string();
        assert!(error.contains("a.png: it has transparent pixels"), "{error}");
        RgbaImage::from_pixel(2, 2, Rgba([1, 2, 3, 255])).save(dir.path().join("a.png")).unwrap();
        assert_eq!(read(dir.path(), None, Fit::default()).unwrap().dim(), (1, 3, 2, 2));
    }
}
