//! What of a recipe only its files can tell: whether they are here, and whether images, network
//! and features fit each other.

use std::ops::ControlFlow;

use crate::train::recipe::{DistanceSpec, NetworkSpec, Recipe, TaskSpec};
use crate::{
    data::{self, ImageSet, Places},
    diagnostic::{Diagnostic, Diagnostics},
    error::{Error, Result},
    measure::features,
    networks::{home, unet_config::UnetConfig},
};

impl Recipe {
    /// Checks that what the manifest names is on this machine and fits, on one image of the data.
    ///
    /// # Errors
    /// Everything that is missing or does not fit, each at its place in the manifest.
    pub fn check_files(&self) -> Result<()> {
        let mut problems = vec![];
        match self.first_image() {
            Ok(set) => problems.extend(self.image_problems(&set)),
            Err(problem) => problems.push(*problem),
        }
        if let TaskSpec::Denoiser(spec) = &self.task {
            problems.extend(self.start_problem(&spec.network));
        }
        if let Some(distance) = &self.watch.distance {
            problems.extend(self.distance_problems(distance));
        }
        if problems.is_empty() { Ok(()) } else { Err(Error::Manifest(Diagnostics::new(problems))) }
    }

    fn problem(&self, path: &str, message: impl Into<String>, help: &str) -> Diagnostic {
        Diagnostic::error(self.locate(path), message).help(help)
    }

    /// The first image of the data, which is read to see whether and how the rest can be.
    fn first_image(&self) -> std::result::Result<ImageSet, Box<Diagnostic>> {
        if let Some(list) = &self.data.exclude
            && !list.is_file()
        {
            let message = format!("data.exclude = \"{}\" does not exist", list.display());
            let help = "a CSV file with the columns batch_file and index; paths are relative to the \
                        folder the command runs in";
            return Err(Box::new(self.problem("data.exclude", message, help)));
        }
        let request = self.data.request(Some(1), false);
        let read = data::load(&request, &Places::from_env(), &mut |_| ControlFlow::Break(()));
        read.map_err(|error| {
            use data::Error as E;
            let path = match error {
                E::NoSplits { .. } => "data.split",
                E::NoExclusions { .. } => "data.exclude",
                E::Pad { .. } | E::Celeba { .. } => "data.resize",
                _ => "data.source",
            };
            Box::new(Diagnostic::error(self.locate(path), error.to_string()))
        })
    }

    fn image_problems(&self, set: &ImageSet) -> Vec<Diagnostic> {
        if set.is_empty() {
            let help =
                "nothing can be learned from it: take another split or a shorter exclusion list";
            return vec![self.problem("data.source", "the data has no images", help)];
        }
        let mut problems = self.shape_problems(set.shape());
        if matches!(self.task, TaskSpec::Classifier(_)) && set.labels.is_empty() {
            let message = format!("{} is read without the classes of its images", set.name);
            let help =
                "a classifier learns from CIFAR-10, the one layout with classes beside the images";
            problems.push(self.problem("data.source", message, help));
        }
        problems
    }

    /// What keeps images `[C, H, W]` from being learned.
    pub(crate) fn shape_problems(&self, [c, h, w]: [usize; 3]) -> Vec<Diagnostic> {
        let mut problems = vec![];
        if h != w {
            let message = format!("the images are {h} x {w} (height x width), not square");
            let help = "`data.resize = \"center-crop:SIDE\"`, or another mode that cuts squares";
            problems.push(self.problem("data.source", message, help));
        }
        let shift = self.augmentation.shift;
        if shift > 0 && shift >= h.min(w) {
            let message =
                format!("a shift by {shift} pixels moves the whole image of {h} x {w} away");
            let help = "a shift is a small part of the side: 4 for images of 32 x 32";
            problems.push(self.problem("data.shift", message, help));
        }
        match &self.task {
            TaskSpec::Denoiser(spec) => {
                // A folder that cannot be read is reported as such.
                let config = match spec.network.start_folder() {
                    None => Some(spec.network.config(c, h)),
                    Some(folder) => UnetConfig::read(&folder.join("config.json")).ok(),
                };
                let config = config.iter();
                problems.extend(
                    config.flat_map(|config| self.misfits(&spec.network, config, [c, h, w])),
                );
                if c != 3 && self.watch.distance.is_some() {
                    let message = format!("features are those of images of 3 channels, not of {c}");
                    let help = "`data.rgb = true`, or no distance";
                    problems.push(self.problem("watch.features", message, help));
                }
            }
            TaskSpec::Classifier(_) if c != 3 => {
                let message = format!("a classifier takes images of 3 channels, not of {c}");
                let help = "`data.rgb = true` gives grey images three equal ones";
                problems.push(self.problem("data.rgb", message, help));
            }
            TaskSpec::Classifier(_) => {}
        }
        problems
    }

    fn misfits(
        &self,
        network: &NetworkSpec,
        config: &UnetConfig,
        [c, h, w]: [usize; 3],
    ) -> Vec<Diagnostic> {
        let mut problems = vec![];
        let path = if network.start.is_some() { "network.start" } else { "network.channels" };
        let halvings = config.levels() - 1;
        if h == w && h % (1 << halvings) != 0 {
            let levels = config.levels();
            let message = format!(
                "images of {h} x {w} cannot be halved {halvings} times, as {levels} levels do"
            );
            let side = h.next_multiple_of(1 << halvings);
            let help = format!("`data.resize = \"pad:{side}\"`, or fewer levels");
            problems.push(self.problem(path, message, &help));
        }
        if usize::try_from(config.in_channels) != Ok(c) {
            let message = format!(
                "the network takes {} channels, and the images have {c}",
                config.in_channels
            );
            let help =
                "start from weights for such images; `data.rgb = true` makes grey ones colour";
            problems.push(self.problem(path, message, help));
        }
        if config.predicts_range() != Some(false) {
            let (into, out) = (config.in_channels, config.out_channels);
            let message = format!("the network makes {out} channels of {into}");
            let help =
                "a training learns one prediction, of as many channels: not a variance beside it";
            problems.push(self.problem(path, message, help));
        }
        problems
    }

    fn start_problem(&self, network: &NetworkSpec) -> Option<Diagnostic> {
        let shown = network.start.as_ref()?.display().to_string();
        let folder = network.start_folder()?;
        let help = format!(
            "a folder with config.json and diffusion_pytorch_model.safetensors; `ddim convert SOURCE \
             --out {shown}` makes one of other weights"
        );
        if !folder.exists() {
            let looked = home::looked(&shown);
            let message = format!("network.start = \"{shown}\" does not exist ({looked})");
            return Some(self.problem("network.start", message, &help));
        }
        let error = UnetConfig::read(&folder.join("config.json")).err()?;
        Some(self.problem("network.start", error.to_string(), &help))
    }

    fn distance_problems(&self, distance: &DistanceSpec) -> Vec<Diagnostic> {
        let DistanceSpec { features, reference, .. } = distance;
        let mut problems = vec![];
        let known =
            "a folder like models/cifar10-features, `inception`, or a file of Inception weights";
        match features::locate(features) {
            Err(error) => problems.push(self.problem("watch.features", error.to_string(), known)),
            Ok(path) if !path.exists() => {
                let message = format!("watch.features = \"{features}\" does not exist");
                problems.push(self.problem("watch.features", message, known));
            }
            Ok(_) => {}
        }
        if !home::locate(reference).exists() {
            let message = format!("watch.reference = \"{reference}\" does not exist");
            let help = format!(
                "`ddim stats --data SET --features {features} --out {reference}` writes it from a data set"
            );
            problems.push(self.problem("watch.reference", message, &help));
        }
        problems
    }
}
