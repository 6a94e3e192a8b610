//! `ddim stats`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Compute, Talk};
use crate::{
    data::cifar10::{Cifar10, Exclusions, Split},
    harness::{
        error::{Error, Result},
        stats,
    },
};

#[derive(Debug, Args)]
pub(super) struct Stats {
    /// CIFAR-10: the folder or archive of its binary version
    #[arg(long, value_name = "PATH")]
    data: PathBuf,

    /// Which images
    #[arg(long, value_enum, default_value = "train")]
    split: SplitName,

    /// A CSV file of images to leave out
    #[arg(long, value_name = "FILE")]
    exclude: Option<PathBuf>,

    /// The feature extractor's folder
    #[arg(long, default_value = "models/cifar10-features", value_name = "DIR")]
    features: String,

    /// Feature vectors to keep beside the moments, chosen evenly
    #[arg(long, default_value_t = 5000, value_name = "K")]
    keep: usize,

    /// The reference file to write, .safetensors
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    #[command(flatten)]
    compute: Compute,

    #[command(flatten)]
    talk: Talk,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SplitName {
    Train,
    Test,
}

impl Stats {
    pub(super) fn run(&self) -> Result<()> {
        // Not after minutes of features. A missing folder is made when the file is written.
        if self.out.is_dir() {
            let out = self.out.display();
            return Err(Error::input(format!("--out {out}: it is a folder; name a file")));
        }
        let split = match self.split {
            SplitName::Train => Split::Train,
            SplitName::Test => Split::Test,
        };
        let exclude = self.exclude.as_deref().map(Exclusions::read).transpose()?;
        let images = Cifar10::read(&self.data, split, exclude.as_ref())?;
        stats::write(
            &images,
            split,
            &self.features,
            self.keep,
            &self.out,
            self.compute.open()?,
            self.talk.mode(),
        )
    }
}
