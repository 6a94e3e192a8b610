//! Whether images fit a recipe, and the training of those that do.

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    error::{Error, Result},
    networks::unet_config::{ConfigError, UnetConfig},
    train::{
        recipe::spec::{ClassifierSpec, DenoiserSpec, LearnerSpec, Recipe},
        settings::{Classifier, Denoiser, Learner, Settings},
    },
};

impl Recipe {
    /// The training on images `[C, H, W]`; a denoiser ignores the number of classes.
    ///
    /// # Errors
    /// Images that the network or the augmentation cannot take, each at its place in the manifest, and a
    /// starting point that cannot be read.
    pub fn settings(&self, images: [usize; 3], classes: i64) -> Result<Settings> {
        let problems = self.shape_problems(images);
        if !problems.is_empty() {
            return Err(Error::Manifest(Diagnostics::new(problems)));
        }
        let learner = match &self.learner {
            LearnerSpec::Denoiser(spec) => Learner::Denoiser(Denoiser {
                network: spec
                    .architecture(images[0], images[1])
                    .map_err(|error| Error::input(error.to_string()))?,
                dropout: spec.network.dropout,
                schedule: spec.schedule()?,
                target: spec.target,
                weight_cap: spec.weight_cap,
                loss: spec.loss,
                importance: spec.importance,
            }),
            LearnerSpec::Classifier(ClassifierSpec { depth, widths }) => {
                Learner::Classifier(Classifier { depth: *depth, widths: widths.clone(), classes })
            }
        };
        Ok(Settings {
            seed: self.seed,
            batch: self.batch,
            budget: self.budget,
            learner,
            precision: self.precision,
            augmentation: self.augmentation,
            optimiser: self.optimiser,
            ema: self.ema,
        })
    }

    pub(super) fn problem(&self, path: &str, message: impl Into<String>, help: &str) -> Diagnostic {
        Diagnostic::error(self.locate(path), message).help(help)
    }

    /// What keeps images `[C, H, W]` from being learned.
    pub(super) fn shape_problems(&self, [c, h, w]: [usize; 3]) -> Vec<Diagnostic> {
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
        match &self.learner {
            LearnerSpec::Denoiser(spec) => {
                // A folder that cannot be read is reported as such.
                let config = spec.architecture(c, h).ok();
                let config = config.iter();
                problems.extend(config.flat_map(|config| self.misfits(spec, config, [c, h, w])));
                if c != 3 && self.watch.distance.is_some() {
                    let message = format!("features are those of images of 3 channels, not of {c}");
                    let help = "`data.rgb = true`, or no distance";
                    problems.push(self.problem("watch.features", message, help));
                }
            }
            LearnerSpec::Classifier(_) if c != 3 => {
                let message = format!("a classifier takes images of 3 channels, not of {c}");
                let help = "`data.rgb = true` gives grey images three equal ones";
                problems.push(self.problem("data.rgb", message, help));
            }
            LearnerSpec::Classifier(_) => {}
        }
        problems
    }

    fn misfits(
        &self,
        spec: &DenoiserSpec,
        config: &UnetConfig,
        [c, h, w]: [usize; 3],
    ) -> Vec<Diagnostic> {
        let mut problems = vec![];
        let DenoiserSpec { network, loss, .. } = spec;
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
        let (into, out) = (config.in_channels, config.out_channels);
        if network.widen && out != 2 * into {
            let message = format!("the network makes {} channels of {into} already", out / 2);
            let help = "it has the range of a variance: remove `network.widen`";
            problems.push(self.problem("network.widen", message, help));
        } else if config.predicts_range() != Some(loss.learns_range()) {
            let message = format!("the network makes {out} channels of {into}");
            let help = match (loss.learns_range(), config.predicts_range()) {
                (true, Some(false)) => {
                    "this loss learns a variance in as many channels again: `network.widen = true` adds \
                     them, beginning at 0, which is the middle of the variance's range"
                }
                (false, Some(true)) => {
                    "half of them are a variance, which `loss.kind = \"simple\"` does not learn: take \
                     \"hybrid\""
                }
                _ => "a training learns as many, or twice as many with a variance",
            };
            problems.push(self.problem(path, message, help));
        }
        problems
    }
}

impl DenoiserSpec {
    /// The architecture that is trained on images of these channels and this side.
    fn architecture(
        &self,
        channels: usize,
        side: usize,
    ) -> std::result::Result<UnetConfig, ConfigError> {
        let Self { network, loss, .. } = self;
        let Some(folder) = network.start_folder() else {
            return Ok(network.config(channels, side, loss.learns_range()));
        };
        let config = UnetConfig::read(&folder.join("config.json"))?;
        let out_channels = if network.widen { 2 } else { 1 } * config.out_channels;
        Ok(UnetConfig { out_channels, ..config })
    }
}
