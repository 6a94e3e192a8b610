//! Writes images as an array (also to stdout), as a grid or into a folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use ndarray::{ArrayView3, ArrayView4, Axis};
use rayon::prelude::*;
use tempfile::TempDir;

use crate::cli::{Talk, check_output, check_place};
use crate::{
    data::{ArrayWriter, Element, STDOUT, atomic, stdout},
    error::{Error, Result, remedy},
    report::image_grid::{self, Canvas, Layout},
    results::sink,
    run::assemble::single,
};

/// Whether a path has an extension.
pub(super) fn is(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(ending))
}

/// Whether a path is stdout, `-`.
pub(super) fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == STDOUT
}

/// Whether a path names an array.
fn is_array(path: &Path) -> bool {
    is(path, "npy") || is_stdout(path)
}

/// Refuses to write an array to a terminal.
pub(super) fn check_stdout() -> Result<()> {
    if stdout::is_terminal() {
        return Err(Error::input(
            "--out -: stdout is a terminal; redirect it to a file or a program",
        ));
    }
    Ok(())
}

/// Whether a path names a folder: it has no extension and does not start with a dot.
fn is_folder(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
    path.extension().is_none() && !hidden
}

/// Refuses outputs that cannot be written, before anything is computed.
pub(super) fn check(paths: &[PathBuf]) -> Result<()> {
    for path in paths {
        let shown = path.display();
        if is_stdout(path) {
            if paths.iter().filter(|path| is_stdout(path)).count() > 1 {
                return Err(Error::input("--out - is given twice: stdout takes one array"));
            }
            check_stdout()?;
        } else if is(path, "npy") || is(path, "png") {
            check_output(path)?;
        } else if !is_folder(path) {
            return Err(Error::input(format!(
                "--out {shown}: images are written as .npy (an array; - is stdout), .png (a grid), \
                 or into a new folder (a name without an extension)"
            )));
        } else if path.is_file() {
            return Err(Error::input(format!("--out {shown}: it is a file; name a new folder")));
        } else if fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Error::input(format!(
                "--out {shown}: the folder is not empty; name a new one"
            )));
        } else {
            check_place(path)?;
        }
    }
    Ok(())
}

/// Refuses pictures of neither one nor three channels.
pub(super) fn check_channels(paths: &[PathBuf], channels: usize) -> Result<()> {
    match paths.iter().find(|path| !is_array(path)) {
        Some(path) if ![1, 3].contains(&channels) => Err(Error::input(format!(
            "--out {}: samples of {channels} channels cannot be shown as pictures, which \
             have 1 or 3; write them as .npy",
            path.display()
        ))),
        _ => Ok(()),
    }
}

/// Refuses pictures of samples that are categories.
pub(super) fn check_arrays(paths: &[PathBuf]) -> Result<()> {
    match paths.iter().find(|path| !is_array(path)) {
        Some(path) => Err(Error::input(format!(
            "--out {}: categories cannot be shown as pictures; write them as .npy, one-hot",
            path.display()
        ))),
        None => Ok(()),
    }
}

enum Sink {
    Array(Box<ArrayWriter>),
    Grid(Canvas),
    Folder { beside: TempDir, written: usize, digits: usize },
}

/// Output files that are filled batch by batch and appear when they are complete.
pub(super) struct Outputs {
    sinks: Vec<(PathBuf, Sink)>,
    taken: u64,
}

impl Outputs {
    /// Opens the files for `n` images `[C, H, W]`; `columns` is the number of columns of a grid.
    pub(super) fn open(
        paths: &[PathBuf],
        n: usize,
        [c, h, w]: [usize; 3],
        columns: usize,
    ) -> Result<Self> {
        check_channels(paths, c)?;
        let sinks = paths.iter().map(|path| {
            let sink = if is_array(path) {
                Sink::Array(Box::new(ArrayWriter::npy(path, [n, c, h, w], Element::F32)?))
            } else if is(path, "png") {
                let layout = Layout { scale: 2, ..Layout::columns(columns) };
                let canvas = Canvas::new([n, c, h, w], layout);
                Sink::Grid(canvas.map_err(|error| failed(path, &error))?)
            } else {
                let digits = n.saturating_sub(1).to_string().len();
                Sink::Folder { beside: folder_beside(path)?, written: 0, digits }
            };
            Ok((path.clone(), sink))
        });
        Ok(Self { sinks: sinks.collect::<Result<_>>()?, taken: 0 })
    }

    /// Adds images, `[N, C, H, W]` in [-1, 1].
    pub(super) fn append(&mut self, images: ArrayView4<'_, f64>) -> Result<()> {
        let singles = single(images, self.taken)?;
        self.taken += singles.len_of(Axis(0)) as u64;
        for (path, sink) in &mut self.sinks {
            match sink {
                Sink::Array(array) => array.append(images)?,
                Sink::Grid(canvas) => canvas.draw(singles.view()),
                Sink::Folder { beside, written, digits } => {
                    let images: Vec<_> = singles.axis_iter(Axis(0)).collect();
                    let layout = Layout { padding: 0, ..Layout::columns(1) };
                    let png = |image: &ArrayView3<'_, f32>| {
                        image_grid::png(image.insert_axis(Axis(0)), layout)
                    };
                    let files: std::result::Result<Vec<_>, _> =
                        images.par_iter().map(png).collect();
                    for file in files.map_err(|error| failed(path, &error))? {
                        let name = format!("{:01$}.png", *written, *digits);
                        fs::write(beside.path().join(name), file)
                            .map_err(|error| unwritten(path, &error))?;
                        *written += 1;
                    }
                }
            }
        }
        Ok(())
    }

    /// Moves all files to their final places.
    pub(super) fn finish(self, talk: &Talk) -> Result<()> {
        for (path, sink) in self.sinks {
            match sink {
                Sink::Array(array) => drop(array.finish()?),
                Sink::Grid(canvas) => {
                    let png = canvas.png().map_err(|error| failed(&path, &error))?;
                    sink::write_atomically(&path, &png)?;
                }
                Sink::Folder { beside, .. } => {
                    // The folder may exist and be empty.
                    let _ = fs::remove_dir(&path);
                    fs::rename(beside.path(), &path).map_err(|error| unwritten(&path, &error))?;
                    // Renamed: there is nothing left to remove.
                    let _ = beside.keep();
                }
            }
            if !is_stdout(&path) {
                talk.say(|| format!("wrote {}", path.display()));
            }
        }
        Ok(())
    }
}

fn folder_beside(path: &Path) -> Result<TempDir> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut builder = tempfile::Builder::new();
    builder.prefix(atomic::PREFIX);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    let made = builder.tempdir_in(parent.unwrap_or(Path::new(".")));
    let made = made.map_err(|error| failed(path, &error))?;
    atomic::begun(made.path());
    Ok(made)
}

/// A place that could be written to before the images were computed.
fn unwritten(path: &Path, error: &io::Error) -> Error {
    let fact = format!("cannot write {}: {error}", path.display());
    Error::Failed(remedy::sentence(&fact, remedy::unwritten(error)))
}

pub(super) fn failed(path: &Path, error: &dyn std::error::Error) -> Error {
    Error::input(format!("--out {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use ndarray::Array4;

    use super::*;

    #[test]
    fn a_batch_is_on_the_disk_before_the_next_one_comes() {
        let dir = tempfile::tempdir().unwrap();
        let paths = [dir.path().join("x.npy"), dir.path().join("all")];
        let mut out = Outputs::open(&paths, 9, [3, 32, 32], 3).unwrap();
        let batch = Array4::from_elem((3, 3, 32, 32), 0.25);
        for batches in 1..=3 {
            out.append(batch.view()).unwrap();
            let (mut pictures, mut bytes) = (0, 0);
            for entry in fs::read_dir(dir.path()).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    pictures += fs::read_dir(path).unwrap().count();
                } else {
                    bytes += usize::try_from(fs::metadata(path).unwrap().len()).unwrap();
                }
            }
            // All but what the buffer of a file holds.
            let written = 4 * batches * batch.len();
            assert_eq!(pictures, 3 * batches);
            assert!(bytes > written - 8192, "{bytes} of {written}");
        }
        assert!(!paths.iter().any(|path| path.exists()));
    }
}
