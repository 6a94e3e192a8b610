//! Folders of images, at any depth, in the order of their paths.
//!
//! Links to folders are followed, except one that leads back to a folder it lies in. Files without
//! the ending of an image are skipped and counted; names that start with a dot are ignored. A set is
//! grey if all of its images are, otherwise all of it is in colour (`data/decode.rs` says which
//! formats are read, and how).

use std::{
    collections::BTreeMap,
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

use image::DynamicImage;
use ndarray::Array4;
use rayon::prelude::*;

use crate::data::{
    Error, Fit, Images, Result,
    decode::{FORMATS, Outline, decode, is_image, look},
    file::{self, Stamp},
    fit::to_array,
};

/// Files that are looked at at once.
const LOOKED_AT: usize = 4096;

/// The images of a folder.
pub struct Folder {
    /// `[N, C, H, W]`, each resized on its way in.
    pub images: Files,
    /// What was passed over, a line each; none if everything is an image.
    pub notes: Vec<String>,
}

/// Finds the images of a folder, at most `limit`.
///
/// # Errors
/// A folder without images, a file that is not what its name says, or files of several sizes once
/// resized; the first such file is named.
pub fn open(folder: &Path, limit: Option<usize>, fit: Fit) -> Result<Folder> {
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
    Ok(Folder { images: Files::new(files, fit)?, notes })
}

/// Images that have a file each, which is decoded each time it is asked for.
pub struct Files {
    paths: Vec<PathBuf>,
    stamps: Vec<Stamp>,
    fit: Fit,
    shape: [usize; 3],
}

impl Files {
    /// Looks at files, at least one, without decoding their pixels.
    pub(super) fn new(paths: Vec<PathBuf>, fit: Fit) -> Result<Self> {
        let (mut stamps, mut expected, mut has_colour) = (vec![], None, fit.rgb);
        for some in paths.chunks(LOOKED_AT) {
            let seen: Vec<_> = some.par_iter().map(|path| outline(path, fit)).collect();
            // In order, so that the message does not depend on which thread was the first.
            for (path, seen) in some.iter().zip(seen) {
                let (outline, stamp) = seen?;
                let (found, expected) = (outline.size, *expected.get_or_insert(outline.size));
                if found != expected {
                    let (path, first) = (path.clone(), paths[0].clone());
                    return Err(Error::Sizes { path, found, first, expected });
                }
                has_colour |= outline.has_colour;
                stamps.push(stamp);
            }
        }
        let (width, height) = expected.expect("invariant: there is a file");
        let shape = [if has_colour { 3 } else { 1 }, height as usize, width as usize];
        Ok(Self { paths, stamps, fit, shape })
    }
}

impl Images for Files {
    fn shape(&self) -> [usize; 4] {
        let [c, h, w] = self.shape;
        [self.paths.len(), c, h, w]
    }

    fn read(&self, positions: Range<usize>) -> Result<Array4<u8>> {
        let [c, h, w] = self.shape;
        let one = |position: usize| -> Result<DynamicImage> {
            let path = &self.paths[position];
            let image = named(path, self.fit.resize(decode(path)?))?;
            let failed = |source| Error::Read { path: path.clone(), source };
            self.stamps[position].check(&file::open(path).map_err(failed)?).map_err(failed)?;
            Ok(image)
        };
        let images: Vec<Result<DynamicImage>> = positions.into_par_iter().map(one).collect();
        // In order, as above.
        let images = images.into_iter().collect::<Result<Vec<_>>>()?;
        Ok(to_array(&images, (c, h, w)))
    }

    fn file(&self, position: usize) -> Option<&Path> {
        self.paths.get(position).map(PathBuf::as_path)
    }
}

/// What an image will be once it is resized, and what tells whether it is still the same.
fn outline(path: &Path, fit: Fit) -> Result<(Outline, Stamp)> {
    let failed = |source| Error::Read { path: path.to_path_buf(), source };
    let stamp = file::open(path).and_then(|file| Stamp::of(&file)).map_err(failed)?;
    let outline = look(path)?;
    let size = named(path, fit.size(outline.size))?;
    Ok((Outline { size, ..outline }, stamp))
}

/// Names the file of an image that is too large to be resized.
fn named<T>(path: &Path, resized: Result<T>) -> Result<T> {
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

    fn read(dir: &Path, limit: Option<usize>, fit: Fit) -> Result<Array4<u8>> {
        let images = open(dir, limit, fit)?.images;
        images.read(0..images.shape()[0])
    }

    fn images(dir: &Path, limit: Option<usize>, fit: Fit) -> Array4<u8> {
        read(dir, limit, fit).unwrap()
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
        let found = open(dir.path(), None, Fit::default()).unwrap();
        assert_eq!(found.images.shape()[0], 5);
        assert!(found.images.file(4).unwrap().ends_with("sub/d.tif"));
        assert_eq!(found.images.file(5), None);
        let expected = ": passed over 4 of 9 files: 2 .avif, 1 without an ending, 1 .txt";
        assert_eq!(found.notes, [format!("{}{expected}", dir.path().display())]);
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
        let set = open(&dir.path().join("set"), None, Fit::default()).unwrap();
        assert_eq!((set.images.shape()[0], set.notes.len()), (4, 2), "{:?}", set.notes);
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
        let images_of_two = images(dir.path(), Some(2), Fit::default());
        let images = images(dir.path(), None, Fit::default());
        assert_eq!(images.dim(), (3, 3, 4, 4));
        assert_eq!(
            [images[[0, 0, 0, 0]], images[[1, 0, 0, 0]], images[[2, 0, 3, 3]]],
            [10, 20, 30]
        );
        assert_eq!(images[[1, 1, 0, 3]], 3);
        assert_eq!(images_of_two.dim().0, 2);
    }

    #[test]
    fn grey_stays_grey_until_one_image_is_in_colour() {
        let dir = TempDir::new().unwrap();
        GrayImage::from_pixel(4, 4, Luma([7])).save(dir.path().join("a.png")).unwrap();
        assert_eq!(read(dir.path(), None, Fit::default()).unwrap().dim(), (1, 1, 4, 4));
        let rgb = Fit { rgb: true, ..Fit::default() };
        assert_eq!(read(dir.path(), None, rgb).unwrap(), Array4::from_elem((1, 3, 4, 4), 7));
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
        let error = open(dir.path(), None, Fit::default()).err().unwrap();
        assert!(
            matches!(&error, Error::Sizes { path, found: (6, 6), expected: (8, 8), .. }
            if path.ends_with("c.png")),
            "{error}"
        );
        let fit = Fit { resize: Resize::CenterCrop(4), ..Fit::default() };
        assert_eq!(read(dir.path(), None, fit).unwrap().dim(), (4, 3, 4, 4));
    }

    #[test]
    fn an_image_that_changed_since_it_was_found_is_refused() {
        let dir = TempDir::new().unwrap();
        for name in ["a.png", "b.png"] {
            colour(dir.path(), name, 4, 1);
        }
        let found = open(dir.path(), None, Fit::default()).unwrap().images;
        assert!(found.read(0..2).is_ok());
        colour(dir.path(), "b.png", 5, 1);
        assert!(found.read(0..1).is_ok());
        let error = found.read(0..2).unwrap_err().to_string();
        assert!(error.contains("b.png") && error.contains("it changed while"), "{error}");
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
