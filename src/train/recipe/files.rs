//! What only the files of a recipe can tell: whether they are here, and whether images, network and
//! features fit each other.

use std::ops::ControlFlow;

use crate::train::recipe::spec::{DistanceSpec, LearnerSpec, NetworkSpec, Recipe};
use crate::{
    data::{self, ImageSet, Places},
    diagnostic::{Diagnostic, Diagnostics},
    error::{Error, Result, remedy},
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
        if let LearnerSpec::Denoiser(spec) = &self.learner {
            problems.extend(self.start_problem(&spec.network));
        }
        if let Some(distance) = &self.watch.distance {
            problems.extend(self.distance_problems(distance));
        }
        if problems.is_empty() { Ok(()) } else { Err(Error::Manifest(Diagnostics::new(problems))) }
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
            let (path, help) = match error {
                E::NoSplits { .. } => ("data.split", "leave it out".to_owned()),
                E::NoExclusions { .. } => ("data.exclude", "leave it out".to_owned()),
                E::Pad { side, .. } => (
                    "data.resize",
                    format!("`center-crop:{side}` or `squash:{side}` makes them smaller"),
                ),
                ref other => {
                    let path = match other {
                        E::Celeba { .. } => "data.resize",
                        _ => "data.source",
                    };
                    return Box::new(Diagnostic::error(self.locate(path), remedy::images(other)));
                }
            };
            Box::new(self.problem(path, error.to_string(), &help))
        })
    }

    fn image_problems(&self, set: &ImageSet) -> Vec<Diagnostic> {
        if set.is_empty() {
            let help =
                "nothing can be learned from it: take another split or a shorter exclusion list";
            return vec![self.problem("data.source", "the data has no images", help)];
        }
        let mut problems = self.shape_problems(set.shape());
        if matches!(self.learner, LearnerSpec::Classifier(_)) && set.classes.is_empty() {
            let message = format!("{} is read without the classes of its images", set.name);
            let help =
                "a classifier learns from CIFAR-10, the one layout with classes beside the images";
            problems.push(self.problem("data.source", message, help));
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
