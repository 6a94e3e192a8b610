//! Folders of images, at any depth, in the order of their paths.
//!
//! Links to folders are followed, except one that leads back to a folder it lies in. Files without
//! the ending of an image are skipped and counted; names that start with a dot are ignored. A set is
//! grey if all of its images are, otherwise all of it is in colour (`data/decode.rs` says which
//! formats are read, and how).

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use image::{DynamicImage, GenericImageView};
use ndarray::Array4;
use rayon::prelude::*;

use crate::data::{
    Error, Fit, Result,
    decode::{FORMATS, decode, is_image},
    fit::to_array,
};

/// The images of a folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Folder {
    /// `[N, C, H, W]`.
    pub images: Array4<u8>,
    /// Their files, in the same order.
    pub files: Vec<PathBuf>,
    /// What was passed over, a line each; none if everything is an image.
    pub notes: Vec<String>,
}

/// Reads the images of a folder, at most `limit`, each resized on its way in.
///
/// # Errors
/// A folder without images, a file that is not what its name says, or files of several sizes once
/// resized; the first such file is named.
pub fn read(folder: &Path, limit: Option<usize>, fit: Fit) -> Result<Folder> {
    let mut found = Listing::default();
    found.list(folder, &mut vec![])?;
    let Listing { mut files, others, loops } = found;
    if files.is_empty() {
        let problem = if others.is_empty() {
            format!("is empty: expected images ({FORMATS})")
        } else {
            format!("holds no image ({FORMATS}), but {}", listed(&others))
        };
        return Err(Error::Empty { path: folder.to_path_buf(), problem });
    }
    let mut notes = vec![];
    if !others.is_empty() {
        let over: usize = others.values().sum();
        let of = over + files.len();
        let (folder, others) = (folder.display(), listed(&others));
        notes.push(format!("{folder}: passed over {over} of {of} files: {others}"));
    }
    notes.extend(loops.iter().map(|link| {
        format!("{}: passed over, a link to a folder that it lies in", link.display())
    }));
    files.sort();
    files.truncate(limit.unwrap_or(usize::MAX));
    Ok(Folder { images: read_files(&files, fit)?, files, notes })
}

/// Reads files, at least one, in their order.
pub(super) fn read_files(files: &[PathBuf], fit: Fit) -> Result<Array4<u8>> {
    let images: Vec<Result<DynamicImage>> =
        files.par_iter().map(|path| named(path, fit.resize(decode(path)?))).collect();
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

/// Names the file of an image that is too large to be resized.
fn named(path: &Path, resized: Result<DynamicImage>) -> Result<DynamicImage> {
    resized.map_err(|error| match error {
        Error::TooLarge { .. } => {
            Error::Format { path: path.to_path_buf(), problem: error.to_string() }
        }
        other => other,
    })
}

/// What a folder holds.
#[derive(Default)]
struct Listing {
    files: Vec<PathBuf>,
    /// How many files of each other ending.
    others: BTreeMap<String, usize>,
    /// Links to a folder that they lie in.
    loops: Vec<PathBuf>,
}

impl Listing {
    /// Lists a folder that lies in the folders `above`, by their real paths.
    fn list(&mut self, folder: &Path, above: &mut Vec<PathBuf>) -> Result<()> {
        let failed = |source| Error::Read { path: folder.to_path_buf(), source };
        let real = folder.canonicalize().map_err(failed)?;
        if above.contains(&real) {
            self.loops.push(folder.to_path_buf());
            return Ok(());
        }
        above.push(real);
        for entry in fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            let kind = entry.file_type().map_err(failed)?;
            // A link that leads nowhere is a file that cannot be read, and is named so.
            if kind.is_dir() || kind.is_symlink() && path.is_dir() {
                self.list(&path, above)?;
            } else if is_image(&path) {
                self.files.push(path);
            } else {
                let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
                *self.others.entry(ending.unwrap_or_default()).or_default() += 1;
            }
        }
        above.pop();
        Ok(())
    }
}

/// `2 .avif, 1 .txt`, the most frequent ending first.
fn listed(others: &BTreeMap<String, usize>) -> String {
    const MOST: usize = 6;
    let mut others: Vec<_> = others.iter().collect();
    others.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let name = |(ending, count): &(&String, &usize)| match ending.as_str() {
        "" => format!("{count} without an ending"),
        ending => format!("{count} .{ending}"),
    };
    let mut parts: Vec<String> = others.iter().take(MOST).map(name).collect();
    let rest: usize = others.iter().skip(MOST).map(|(_, count)| **count).sum();
    if rest > 0 {
        parts.push(format!("{rest} others"));
    }
    parts.join(", ")
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

    fn images(dir: &Path, limit: Option<usize>, fit: Fit) -> Array4<u8> {
        read(dir, limit, fit).unwrap().images
    }

    #[test]
    fn what_is_no_image_is_counted_by_its_ending() {
        let dir = TempDir::new().unwrap();
        for name in ["a.png", "b.webp", "c.bmp", "sub/d.tif", "e.ppm"] {
            colour(dir.path(), name, 4, 1);
        }
        for name in ["f.avif", "sub/g.AVIF", "h.txt", "README", ".hidden.txt"] {
            fs::write(dir.path().join(name), "no image").unwrap();
        }
        let read = read(dir.path(), None, Fit::default()).unwrap();
        assert_eq!((read.images.dim().0, read.files.len()), (5, 5));
        assert!(read.files[4].ends_with("sub/d.tif"));
        let expected = ": passed over 4 of 9 files: 2 .avif, 1 without an ending, 1 .txt";
        assert_eq!(read.notes, [format!("{}{expected}", dir.path().display())]);
    }

    #[cfg(unix)]
    #[test]
    fn links_to_folders_are_followed_but_not_in_a_circle() {
        use std::os::unix::fs::symlink;
        let dir = TempDir::new().unwrap();
        colour(dir.path(), "real/a.png", 4, 1);
        colour(dir.path(), "real/deep/b.png", 4, 2);
        fs::create_dir(dir.path().join("set")).unwrap();
        colour(dir.path(), "set/c.png", 4, 3);
        symlink("../real", dir.path().join("set/class")).unwrap();
        symlink("../real/a.png", dir.path().join("set/z.png")).unwrap();
        assert_eq!(images(&dir.path().join("set"), None, Fit::default()).dim().0, 4);
        // A link to the folder that it lies in, and one to a folder further up.
        symlink(".", dir.path().join("set/self")).unwrap();
        symlink("../../set", dir.path().join("real/deep/up")).unwrap();
        let set = read(&dir.path().join("set"), None, Fit::default()).unwrap();
        assert_eq!((set.images.dim().0, set.notes.len()), (4, 2), "{:?}", set.notes);
        assert!(set.notes.iter().all(|note| note.ends_with("a folder that it lies in")));
        // A link to nowhere is named, not passed over.
        symlink("nowhere.png", dir.path().join("set/gone.png")).unwrap();
        let error = read(&dir.path().join("set"), None, Fit::default()).unwrap_err().to_string();
        assert!(error.contains("set/gone.png"), "{error}");
    }

    #[test]
    fn images_come_in_the_order_of_their_paths() {
        let dir = TempDir::new().unwrap();
        for (name, value) in [("b.png", 20), ("a/z.png", 10), ("c.PNG", 30)] {
            colour(dir.path(), name, 4, value);
        }
        fs::write(dir.path().join("README.md"), "no image").unwrap();
        fs::write(dir.path().join(".hidden.png"), "no image").unwrap();
        let images = images(dir.path(), None, Fit::default());
        assert_eq!(images.dim(), (3, 3, 4, 4));
        assert_eq!(
            [images[[0, 0, 0, 0]], images[[1, 0, 0, 0]], images[[2, 0, 3, 3]]],
            [10, 20, 30]
        );
        assert_eq!(images[[1, 1, 0, 3]], 3);
        assert_eq!(read(dir.path(), Some(2), Fit::default()).unwrap().images.dim().0, 2);
    }

    #[test]
    fn grey_stays_grey_until_one_image_is_in_colour() {
        let dir = TempDir::new().unwrap();
        GrayImage::from_pixel(4, 4, Luma([7])).save(dir.path().join("a.png")).unwrap();
        assert_eq!(read(dir.path(), None, Fit::default()).unwrap().images.dim(), (1, 1, 4, 4));
        let rgb = Fit { rgb: true, ..Fit::default() };
        assert_eq!(read(dir.path(), None, rgb).unwrap().images, Array4::from_elem((1, 3, 4, 4), 7));
        colour(dir.path(), "b.jpg", 4, 200);
        let images = images(dir.path(), None, Fit::default());
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
        assert_eq!(read(dir.path(), None, fit).unwrap().images.dim(), (4, 3, 4, 4));
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
        assert_eq!(read(dir.path(), None, Fit::default()).unwrap().images.dim(), (1, 3, 2, 2));
    }
}
