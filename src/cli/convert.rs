//! `ddim convert`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{Talk, fetch};
use crate::{
    harness::{
        error::{Error, Result},
        sink,
    },
    models::{
        checkpoint::Which,
        conversion::{Converted, convert},
        files,
    },
};

#[derive(Debug, Args)]
#[command(
    after_help = "The folder holds config.json and diffusion_pytorch_model.safetensors, as diffusers' UNet2DModel\n\
    opens them.\n\nExamples:\n  \
    ddim convert model-790000.ckpt --out cifar10\n  \
    ddim convert ckpt.pth --out celeba-raw --raw --half\n  \
    ddim convert mine.pt --out mine --sample-size 48"
)]
pub(super) struct Convert {
    /// A file of weights, a diffusers folder, or hf:owner/name[/path][@revision]
    source: String,

    /// The folder to write; it must not exist or be empty
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Write F16 instead of F32
    #[arg(long)]
    half: bool,

    /// Of a file with both, take the weights as they were trained and not their average
    #[arg(long)]
    raw: bool,

    /// Side of the images, where the files do not say it
    #[arg(long, value_name = "SIDE", value_parser = clap::value_parser!(i64).range(1..65536))]
    sample_size: Option<i64>,

    /// Replace the two files in a folder that has other things
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    talk: Talk,
}

impl Convert {
    pub(super) fn run(&self) -> Result<()> {
        self.check_folder()?;
        let path = fetch::source(&self.source, &self.talk)?;
        let which = if self.raw { Which::Raw } else { Which::Ema };
        let converted = convert(&path, which, self.half, self.sample_size)?;
        self.write(&converted)?;
        self.talk.remarks(&self.source, &converted.remarks);
        if !self.talk.quiet {
            let size = match converted.config.sample_size {
                Some(side) => format!("{side} x {side}"),
                None => "size not stated (--sample-size)".to_owned(),
            };
            eprintln!("wrote {} (images {size})", self.out.display());
        }
        Ok(())
    }

    fn refused<T>(&self, problem: &str) -> Result<T> {
        Err(Error::input(format!("--out {}: {problem}", self.out.display())))
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        Error::input(format!("--out {}: {error}; choose another folder", self.out.display()))
    }

    /// Before anything is read: what is in the way.
    fn check_folder(&self) -> Result<()> {
        if self.out.is_dir() {
            let mut entries = fs::read_dir(&self.out).map_err(|error| self.failed(&error))?;
            return match entries.next() {
                Some(_) if !self.force => {
                    self.refused("the folder is not empty; --force replaces the two files in it")
                }
                _ => Ok(()),
            };
        }
        if self.out.exists() {
            return self.refused("it is a file; name a folder");
        }
        let parent = self.parent();
        if parent.is_dir() {
            return Ok(());
        }
        self.refused(&format!("the folder {} does not exist; create it first", parent.display()))
    }

    fn parent(&self) -> &Path {
        let parent = self.out.parent().filter(|parent| !parent.as_os_str().is_empty());
        parent.unwrap_or(Path::new("."))
    }

    /// The whole folder appears at once; in one that exists, each file does.
    fn write(&self, converted: &Converted) -> Result<()> {
        let write = |folder: &Path| -> Result<()> {
            sink::write_atomically(&folder.join(files::WEIGHTS[0]), &converted.safetensors)?;
            Ok(sink::write_atomically(&folder.join(files::CONFIG), &converted.json)?)
        };
        if self.out.is_dir() {
            return write(&self.out);
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix(".writing-");
        #[cfg(unix)]
        // Temporary folders are private by default; models are for everyone the umask allows.
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
        let made = builder.tempdir_in(self.parent()).map_err(|error| self.failed(&error))?;
        write(made.path())?;
        fs::rename(made.path(), &self.out).map_err(|error| self.failed(&error))?;
        // Renamed: there is nothing left to remove.
        let _ = made.keep();
        Ok(())
    }
}
