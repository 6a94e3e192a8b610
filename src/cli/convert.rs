//! `ddim convert`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;

use crate::cli::{Talk, fetch};
use crate::{
    error::{Error, Result},
    networks::{
        checkpoint::Which,
        conversion::{Converted, convert},
        files,
        predicts::Predicts,
        scheduler_config::{
            Betas, PIPELINE, SCHEDULER, SchedulerConfig, SchedulerError, pipeline_json,
        },
    },
    results::sink,
};

#[derive(Debug, Args)]
#[command(
    after_help = "Writes config.json and diffusion_pytorch_model.safetensors, which diffusers' UNet2DModel opens, and\n\
    scheduler_config.json with model_index.json, which its DDPMPipeline opens.\n\nExamples:\n  \
    ddim convert model-790000.ckpt --out cifar10\n  \
    ddim convert ckpt.pth --out celeba-raw --raw --half\n  \
    ddim convert mine.pt --out mine --sample-size 48"
)]
pub(super) struct Convert {
    /// A file of weights, a diffusers folder, or hf:owner/name[/path][@revision]
    source: String,

    /// The folder to write, which must be new or empty
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Write F16 instead of F32
    #[arg(long)]
    half: bool,

    /// Use the raw weights instead of their average, where a file has both
    #[arg(long)]
    raw: bool,

    /// Side of the images, if the files do not state it
    #[arg(long, value_name = "SIDE", value_parser = clap::value_parser!(i64).range(1..65536))]
    sample_size: Option<i64>,

    /// What the network predicts, if no scheduler_config.json says so or to override it: eps, v or x0
    #[arg(long, value_name = "WHAT")]
    prediction: Option<String>,

    /// Noise schedule, in the same cases: linear, scaled-linear, cosine or sigmoid, with DDPM's betas
    #[arg(long, value_name = "NAME")]
    schedule: Option<String>,

    /// Replace the model's files in a folder that is not empty, and leave its other files
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    talk: Talk,
}

/// The scheduler's file to write.
struct Scheduler {
    bytes: Vec<u8>,
    class: String,
    origin: String,
}

impl Convert {
    pub(super) fn run(&self) -> Result<()> {
        self.check_folder()?;
        let path = fetch::source(&self.source, &self.talk)?;
        let which = if self.raw { Which::Raw } else { Which::Ema };
        let converted = convert(&path, which, self.half, self.sample_size)?;
        let scheduler = self.scheduler(&path, converted.official)?;
        self.write(&converted, scheduler.as_ref())?;
        self.talk.remarks(&self.source, &converted.remarks);
        if !self.talk.quiet {
            let size = match converted.config.sample_size {
                Some(side) => format!("{side} x {side}"),
                None => "size not stated (--sample-size)".to_owned(),
            };
            eprintln!("wrote {} (images {size})", self.out.display());
            match scheduler {
                Some(Scheduler { origin, .. }) => eprintln!("{SCHEDULER}: {origin}"),
                None => eprintln!(
                    "warning: no {SCHEDULER} was written, since nothing says what the network predicts \
                     and for which noise levels; --prediction and --schedule write one"
                ),
            }
        }
        Ok(())
    }

    /// What the network predicts and its noise schedule: from the flags, from the file next to it, or as
    /// known for networks of the official code.
    fn scheduler(&self, path: &Path, official: bool) -> Result<Option<Scheduler>> {
        let input = |error: SchedulerError| Error::input(error.to_string());
        let found = SchedulerConfig::find(path).map_err(input)?;
        let said = self.prediction.is_some() || self.schedule.is_some();
        if let (Some(file), false) = (&found, said) {
            let bytes = fs::read(file).map_err(|error| {
                Error::input(format!("cannot read {}: {error}", file.display()))
            })?;
            let class = SchedulerConfig::class_of(file).map_err(input)?;
            return Ok(Some(Scheduler {
                bytes,
                class,
                origin: format!("copied from {}", file.display()),
            }));
        }
        let mut config = match &found {
            Some(file) => SchedulerConfig::read(file).map_err(input)?,
            None if !official && !said => return Ok(None),
            None => SchedulerConfig::ddpm(),
        };
        if let Some(name) = &self.prediction {
            let unknown = || Error::input(format!("--prediction {name}: give eps, v or x0"));
            config.predicts = Predicts::named(name).ok_or_else(unknown)?;
        }
        if let Some(name) = &self.schedule {
            let rules = "linear, scaled-linear, cosine or sigmoid";
            let unknown = || Error::input(format!("--schedule {name}: give {rules}"));
            config.betas = Betas::named(name).ok_or_else(unknown)?;
        }
        let by = if said { "as the flags say" } else { "as in the official code" };
        let origin = format!("{config}, {by}");
        let class = "DDPMScheduler".to_owned();
        Ok(Some(Scheduler { bytes: config.to_json().into_bytes(), class, origin }))
    }

    fn refused<T>(&self, problem: &str) -> Result<T> {
        Err(Error::input(format!("--out {}: {problem}", self.out.display())))
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        Error::input(format!("--out {}: {error}; choose another folder", self.out.display()))
    }

    /// Refuses a folder that cannot be written, before anything is read.
    fn check_folder(&self) -> Result<()> {
        if self.out.is_dir() {
            let mut entries = fs::read_dir(&self.out).map_err(|error| self.failed(&error))?;
            return match entries.next() {
                Some(_) if !self.force => self
                    .refused("the folder is not empty; --force replaces the model's files in it"),
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

    /// Writes a new folder as a whole; into an existing one, each file as a whole.
    fn write(&self, converted: &Converted, scheduler: Option<&Scheduler>) -> Result<()> {
        let write = |folder: &Path| -> Result<()> {
            if let Some(Scheduler { bytes, class, .. }) = scheduler {
                sink::write_atomically(&folder.join(SCHEDULER), bytes)?;
                sink::write_atomically(&folder.join(PIPELINE), pipeline_json(class).as_bytes())?;
            }
            sink::write_atomically(&folder.join(files::WEIGHTS[0]), &converted.safetensors)?;
            Ok(sink::write_atomically(&folder.join(files::CONFIG), &converted.json)?)
        };
        if self.out.is_dir() {
            return write(&self.out);
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix(".writing-");
        #[cfg(unix)]
        // Temporary folders are private by default; for models, the umask decides.
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
        let made = builder.tempdir_in(self.parent()).map_err(|error| self.failed(&error))?;
        write(made.path())?;
        fs::rename(made.path(), &self.out).map_err(|error| self.failed(&error))?;
        // Renamed: there is nothing left to remove.
        let _ = made.keep();
        Ok(())
    }
}
