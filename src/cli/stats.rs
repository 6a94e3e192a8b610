//! `ddim stats`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::whole;
use crate::cli::{
    Compute, Talk,
    images::{Images, SplitName},
    outputs::is,
};
use crate::limits;
use crate::{
    data::Split,
    error::{Error, Result},
    measure::{reference::Origin, stats},
};

#[derive(Debug, Args)]
#[command(
    after_help = "Data sets known by name are looked up in the folder DDIM_DATA, then in the cache\n\
    ($XDG_CACHE_HOME/ddim or ~/.cache/ddim).\n\nExamples:\n  \
    ddim stats --data cifar10 --download --out cifar10-train.safetensors\n  \
    ddim stats --data fashion-mnist --resize pad:32 --rgb --out fashion-train.safetensors\n  \
    ddim stats --data faces/ --resize center-crop:32 --out faces.safetensors\n  \
    ddim stats --data cifar10 --features inception --download --out inception-cifar10-train.npz"
)]
pub(super) struct Stats {
    /// Data set: cifar10, mnist, fashion-mnist or celeba; a folder of images (png, jpg, webp, bmp, tif, ppm,
    /// gif), a .npy or .npz array, an idx file or a folder of them, or the folder or archive of CIFAR-10
    /// in its binary or Python version
    #[arg(long, value_name = "NAME|PATH")]
    data: String,

    /// Split of the data set, where it has several [default: train]
    #[arg(long, value_enum)]
    split: Option<SplitName>,

    #[command(flatten)]
    images: Images,

    /// The feature network: a classifier's folder or .th file (a CIFAR ResNet), `inception`, or a file of
    /// Inception weights
    #[arg(long, default_value = "models/cifar10-features", value_name = "DIR|inception|FILE")]
    features: String,

    /// Feature vectors to keep with the mean and covariance, evenly chosen (not in an .npz)
    #[arg(long, default_value_t = 5000, value_name = "K", value_parser = whole(limits::KEPT))]
    keep: usize,

    /// The reference file to write: .safetensors, or .npz (mu and sigma) for other tools
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    #[command(flatten)]
    compute: Compute,

    #[command(flatten)]
    talk: Talk,
}

impl Stats {
    pub(super) fn run(&self) -> Result<()> {
        // Checked before minutes of features. A missing folder is created when the file is written.
        if self.out.is_dir() {
            let out = self.out.display();
            return Err(Error::input(format!("--out {out}: it is a folder; name a file")));
        }
        self.images.fetch_features(&self.features, &self.talk)?;
        let images = self.images.load(&self.data, self.split, Split::Train, &self.talk)?;
        let hardware = self.compute.open()?;
        let mode = self.talk.mode();
        let written = stats::write(&images, &self.features, self.keep, &self.out, hardware, mode)?;
        let Origin { extractor, dataset, split, images, .. } = &written.origin;
        self.talk.note(|| format!("read features {} {}", self.features, extractor.sha256));
        self.talk.say(|| {
            let (out, id, d) = (self.out.display(), &extractor.id, extractor.dimension);
            let kept = if is(&self.out, "npz") {
                "mu and sigma".to_owned()
            } else {
                format!("mean, covariance, {} feature vectors", written.features.nrows())
            };
            format!(
                "wrote {out}: {kept} of {images} images ({dataset} {split}), {d} features of {id}"
            )
        });
        Ok(())
    }
}
