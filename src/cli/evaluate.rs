//! `ddim evaluate`.

use std::path::{Path, PathBuf};

use clap::{Args, builder::PossibleValuesParser};

use crate::cli::whole;
use crate::cli::{
    Compute, Talk,
    images::{Images, SplitName},
};
use crate::limits;
use crate::{
    data::Split,
    error::{Error, Result},
    measure::{
        evaluate::{Against, Ruler, evaluate},
        reference_files::is_statistics,
    },
    metrics::DEFAULT_BLOCKS,
    plan::Measured,
    results::{evaluation, sink},
};

#[derive(Debug, Args)]
#[command(
    after_help = "The distance is called FID only on Inception features; otherwise it is named after its features.\n\
    Float arrays must be in [-1, 1] unless --value-range says otherwise; they are rounded to bytes, as\n\
    when samples are saved. Two sets are compared as pytorch-fid compares two folders.\n\nExamples:\n  \
    ddim evaluate samples/ faces/ --features inception --json\n  \
    ddim evaluate x0.npy --reference models/cifar10-features/cifar10-train.safetensors\n  \
    ddim evaluate cifar10 --split test --reference models/cifar10-features/cifar10-train.safetensors\n  \
    ddim evaluate samples/ --reference faces.safetensors --csv samples.csv\n  \
    ddim evaluate x0.npy --features inception --measures fd,is --reference fid_stats_cifar10.npz\n  \
    ddim evaluate cifar10 --features models/cifar10-features --measures accuracy"
)]
pub(super) struct Evaluate {
    /// A folder of images (png, jpg, webp, bmp, tif, ppm, gif), a .npy or .npz array, or a data set by
    /// name or path
    #[arg(value_name = "IMAGES")]
    data: String,

    /// What to compare with: another set of images, used whole (the training split if it has one), or
    /// a file of statistics as for --reference
    #[arg(value_name = "REAL", conflicts_with = "reference")]
    against: Option<String>,

    /// Split of IMAGES, where it has several [default: test]
    #[arg(long, value_enum)]
    split: Option<SplitName>,

    #[command(flatten)]
    images: Images,

    /// Reference statistics: a file of `ddim stats`, or an .npz of mu and sigma
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,

    /// The feature network, the same as the reference's: a classifier's folder or .th file (a CIFAR
    /// ResNet), `inception`, or a file of Inception weights (FID, KID)
    #[arg(long, default_value = "models/cifar10-features", value_name = "DIR|inception|FILE")]
    features: String,

    /// What to measure: Fréchet distance, kernel distance, Inception Score (from the softmax of a
    /// classifier's logits; Inception's are without their bias, as published), precision and recall
    /// (with as many reference features as images), and the classifier's accuracy on the set's classes
    #[arg(long, value_parser = measure_names(), value_delimiter = ',', default_value = "fd")]
    #[arg(value_name = "LIST")]
    measures: Vec<String>,

    /// Number of disjoint blocks of the jackknife
    #[arg(long, default_value_t = DEFAULT_BLOCKS, value_name = "B", value_parser = whole(limits::BLOCKS))]
    blocks: usize,

    /// Also write the row to this file, with the columns of metrics.csv
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    compute: Compute,

    #[command(flatten)]
    talk: Talk,
}

/// Samples have no class labels, so that no manifest can ask for it.
const ACCURACY: &str = "accuracy";

/// What can be measured on a set of images: measures of features, and the accuracy.
fn measure_names() -> PossibleValuesParser {
    let measures = Measured::all().filter(|measured| measured.is_of_features());
    PossibleValuesParser::new(measures.map(Measured::name).chain([ACCURACY]))
}

impl Evaluate {
    #[allow(clippy::print_stdout, reason = "the distance is this command's data")]
    pub(super) fn run(&self) -> Result<()> {
        self.check_output()?;
        let images = self.images.load(&self.data, self.split, Split::Test, &self.talk)?;
        self.images.fetch_features(&self.features, &self.talk)?;
        let mut measures: Vec<Measured> =
            self.measures.iter().filter_map(|name| Measured::named(name)).collect();
        measures.sort_unstable();
        measures.dedup();
        let file = self.against.as_deref().map(Path::new).filter(|path| is_statistics(path));
        let real = match (&self.against, file) {
            (Some(data), None) => Some(self.images.load_whole(data, Split::Train, &self.talk)?),
            _ => None,
        };
        let file = file.or(self.reference.as_deref());
        let ruler = Ruler {
            measures: &measures,
            accuracy: self.measures.iter().any(|name| name == ACCURACY),
            features: &self.features,
            reference: real.as_ref().map(Against::Images).or(file.map(Against::File)),
            blocks: self.blocks,
        };
        let evaluation = evaluate(&images, &ruler, self.compute.open()?, self.talk.mode())?;
        // First, so that a file without room does not take it away.
        if self.json {
            println!("{:#}", evaluation.json());
        } else {
            print!("{evaluation}");
        }
        if let Some(path) = &self.csv {
            sink::write_atomically(path, &evaluation::csv(&evaluation))?;
            self.talk.say(|| format!("wrote {}", path.display()));
        }
        Ok(())
    }

    /// Checks the output before anything is computed, so that a missing folder costs no measurement.
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
