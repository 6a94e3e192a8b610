//! `ddim stats`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Compute, Talk};
use crate::{
    data::cifar10::{Cifar10, Exclusions, Split},
    harness::{
        error::Result,
        reference::{Extractor, Reference},
        stats,
    },
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ddim stats --data cifar-10-batches-bin --out cifar10-train.safetensors\n  \
    ddim stats --data cifar-10-binary.tar.gz --split test --out cifar10-test.safetensors")]
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
        let split = match self.split {
            SplitName::Train => Split::Train,
            SplitName::Test => Split::Test,
        };
        let exclude = self.exclude.as_deref().map(Exclusions::read).transpose()?;
        let images = Cifar10::read(&self.data, split, exclude.as_ref())?;
        self.talk.note(|| {
            let excluded: usize = images.excluded.values().sum();
            let n = images.len();
            format!("read {n} images ({excluded} left out) {}", images.sha256())
        });
        stats::write(
            &images,
            split,
            &self.features,
            self.keep,
            &self.out,
            self.compute.open()?,
            self.talk.mode(),
        )?;
        let written = Reference::read(&self.out)?;
        let Extractor { sha256, .. } = &written.origin.extractor;
        self.talk.note(|| format!("read features {} {sha256}", self.features));
        self.talk.note(|| format!("wrote {}", self.out.display()));
        Ok(())
    }
}
