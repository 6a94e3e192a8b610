//! `ddim evaluate`.

use std::path::PathBuf;

use clap::Args;

use super::{
    Compute, Talk,
    images::{Images, SplitName},
};
use crate::{
    data::Split,
    harness::{
        error::{Error, Result},
        evaluate::{Ruler, evaluate},
        sink,
    },
    metrics::DEFAULT_BLOCKS,
};

#[derive(Debug, Args)]
#[command(
    after_help = "The distance is named after its features and is not the FID unless they are Inception's. f32 arrays\n\
    are taken as [-1, 1] and rounded to bytes, as when samples are saved.\n\nExamples:\n  \
    ddim evaluate x0.npy --reference models/cifar10-features/cifar10-train.safetensors\n  \
    ddim evaluate cifar10 --split test --reference models/cifar10-features/cifar10-train.safetensors\n  \
    ddim evaluate samples/ --reference faces.safetensors --csv samples.csv"
)]
pub(super) struct Evaluate {
    /// A folder of PNG and JPEG files, a .npy or .npz array, or a data set by name or path
    #[arg(value_name = "IMAGES")]
    data: String,

    /// Which images of a set that has splits [default: test]
    #[arg(long, value_enum)]
    split: Option<SplitName>,

    #[command(flatten)]
    images: Images,

    /// The reference statistics, written by `ddim stats`
    #[arg(long, value_name = "FILE")]
    reference: PathBuf,

    /// The feature extractor's folder, the one the reference was made with
    #[arg(long, default_value = "models/cifar10-features", value_name = "DIR")]
    features: String,

    /// Disjoint blocks of the jackknife
    #[arg(long, default_value_t = DEFAULT_BLOCKS, value_name = "B")]
    blocks: usize,

    /// Write the row here too, with the columns of metrics.csv
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,

    #[command(flatten)]
    compute: Compute,

    #[command(flatten)]
    talk: Talk,
}

impl Evaluate {
    #[allow(clippy::print_stdout, reason = "the distance is this command's data")]
    pub(super) fn run(&self) -> Result<()> {
        self.check_output()?;
        let images = self.images.load(&self.data, self.split, Split::Test, &self.talk)?;
        let ruler =
            Ruler { features: &self.features, reference: &self.reference, blocks: self.blocks };
        let evaluation = evaluate(&images, &ruler, self.compute.open()?, self.talk.mode())?;
        if let Some(path) = &self.csv {
            sink::write_atomically(path, &evaluation.csv())?;
            self.talk.note(|| format!("wrote {}", path.display()));
        }
        print!("{evaluation}");
        Ok(())
    }

    /// Before anything is computed: a missing folder should not cost a measurement.
    fn check_output(&self) -> Result<()> {
        let Some(path) = &self.csv else { return Ok(()) };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        match folder.filter(|folder| !folder.is_dir()) {
            Some(folder) => Err(Error::input(format!(
                "--csv {}: the folder {} does not exist; create it first",
                path.display(),
                folder.display()
            ))),
            None => Ok(()),
        }
    }
}
