//! CelebA: the aligned images, by the official partition.
//!
//! The folder is that of torchvision: `img_align_celeba/` with 202,599 JPEG files of 178 x 218, and
//! `list_eval_partition.txt` with a line `000001.jpg 0` for each (0 training, 1 validation, 2 test).
//! Its authors give it out through Google Drive, which no program fetches reliably.

use std::path::{Path, PathBuf};

use crate::data::{Error, Fit, Result, Split, folder::Files};
use crate::{data::file, limits};

/// The name on the command line and in metadata, and the folder in the cache.
pub const NAME: &str = "celeba";
/// What it is.
pub const ABOUT: &str = "CelebA: 162,770 + 19,962 aligned colour images of 178 x 218, faces";

const IMAGES: &str = "img_align_celeba";
const PARTITION: &str = "list_eval_partition.txt";

/// The set below a folder of sets, if it is there.
pub fn below(root: &Path) -> Option<PathBuf> {
    [root.join(NAME), root.to_path_buf()]
        .into_iter()
        .find(|folder| folder.join(IMAGES).is_dir() && folder.join(PARTITION).is_file())
}

/// Finds the images of a split, at most `limit`, each resized on its way in: `[N, C, H, W]`.
///
/// # Errors
/// A partition that is malformed or has no image of the split, or images that are missing or
/// cannot be read.
pub(super) fn open(folder: &Path, split: Split, limit: Option<usize>, fit: Fit) -> Result<Files> {
    let path = folder.join(PARTITION);
    let text = file::read_text(&path, limits::TEXT)
        .map_err(|source| Error::Read { path: path.clone(), source })?;
    let wanted = match split {
        Split::Train => "0",
        Split::Test => "2",
    };
    let mut files = vec![];
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let &[file, part @ ("0" | "1" | "2")] = fields.as_slice() else {
            let problem = format!(
                "line {} is `{line}`; expected a file and its part, as `000001.jpg 0`",
                number + 1
            );
            return Err(Error::Format { path, problem });
        };
        if part == wanted {
            files.push(folder.join(IMAGES).join(file));
        }
    }
    if files.is_empty() {
        let problem = format!("lists no image of the {} split", split.name());
        return Err(Error::Empty { path, problem });
    }
    files.truncate(limit.unwrap_or(usize::MAX));
    Files::new(files, fit)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use image::{Rgb, RgbImage};
    use tempfile::TempDir;

    use super::*;
    use crate::data::Images;

    fn read(
        folder: &Path,
        split: Split,
        limit: Option<usize>,
        fit: Fit,
    ) -> Result<ndarray::Array4<u8>> {
        let images = open(folder, split, limit, fit)?;
        images.read(0..images.shape()[0])
    }

    #[test]
    fn the_partition_decides_which_images_are_read_and_the_crop_fits_them() {
        let root = TempDir::new().unwrap();
        let folder = root.path().join(NAME);
        assert_eq!(below(root.path()), None);
        fs::create_dir_all(folder.join(IMAGES)).unwrap();
        for (i, name) in ["000001.png", "000002.png", "000003.png"].iter().enumerate() {
            let value = u8::try_from(10 * (i + 1)).unwrap();
            let image = RgbImage::from_pixel(178, 218, Rgb([value, 0, 255]));
            image.save(folder.join(IMAGES).join(name)).unwrap();
        }
        let write = |text: &str| fs::write(folder.join(PARTITION), text).unwrap();
        write("000001.png 2\n000002.png 0\n000003.png 2\n");
        assert_eq!(below(root.path()), Some(folder.clone()));
        assert_eq!(below(&folder), Some(folder.clone()));
        let fit = Fit { resize: "celeba:64".parse().unwrap(), ..Fit::default() };
        let test = read(&folder, Split::Test, None, fit).unwrap();
        assert_eq!(test.dim(), (2, 3, 64, 64));
        assert_eq!([test[[0, 0, 9, 9]], test[[1, 0, 9, 9]], test[[1, 2, 0, 0]]], [10, 30, 255]);
        assert_eq!(read(&folder, Split::Train, None, fit).unwrap()[[0, 0, 0, 0]], 20);
        assert_eq!(read(&folder, Split::Test, Some(1), fit).unwrap().dim().0, 1);

        write("000001.png 1\n");
        let error = read(&folder, Split::Train, None, fit).unwrap_err().to_string();
        assert!(error.contains("lists no image of the train split"), "{error}");
        write("000001.png 1\n000002.png train\n");
        let error = read(&folder, Split::Train, None, fit).unwrap_err().to_string();
        assert!(error.contains("line 2 is `000002.png train`"), "{error}");
    }
}
