//! The folder of a trained model: weights in the formats that others open, and a model card.

use std::{fmt::Write as _, fs, path::Path};

use crate::train::job::{exam::Exam, store::Diary};
use crate::{
    data::{HeldSet, sha256},
    error::{Error, Result},
    networks::{
        classifier::Architecture,
        conversion::{Converted, serialise},
        inspection::thousands,
        scheduler_config::{self, PIPELINE, SCHEDULER, SchedulerConfig, SchedulerError},
    },
    results::{provenance::Provenance, sink},
    run::assemble,
    train::{
        recipe::{DenoiserSpec, LearnerSpec, Recipe},
        settings::{DenoiserLossKind, Learner, Settings},
        trainer::Trainer,
    },
};

/// Writes the weights as they are now, the average where there is one, and what a denoiser was
/// trained for; gives the hash of the weights.
pub(crate) fn write(trainer: &Trainer, recipe: &Recipe, folder: &Path) -> Result<String> {
    fs::create_dir_all(folder)
        .map_err(|error| Error::input(format!("cannot create {}: {error}", folder.display())))?;
    let tensors = trainer.weights().map_err(failed)?;
    let (json, name, bytes) = match &trainer.settings().learner {
        Learner::Denoiser(denoiser) => {
            let Converted { json, safetensors, .. } =
                Converted::new(denoiser.network.clone(), &tensors, false)?;
            (json, "diffusion_pytorch_model.safetensors", safetensors)
        }
        Learner::Classifier(classifier) => {
            let architecture = Architecture::cifar(
                classifier.depth,
                classifier.widths.clone(),
                classifier.classes,
            );
            (architecture.to_json().into_bytes(), "model.safetensors", serialise(&tensors, false)?)
        }
    };
    if let LearnerSpec::Denoiser(spec) = &recipe.learner {
        let scheduler = scheduler_of(spec);
        sink::write_atomically(&folder.join(SCHEDULER), scheduler.to_json().as_bytes())?;
        let pipeline = scheduler_config::pipeline_json(&scheduler.class);
        sink::write_atomically(&folder.join(PIPELINE), pipeline.as_bytes())?;
    }
    sink::write_atomically(&folder.join("config.json"), &json)?;
    sink::write_atomically(&folder.join(name), &bytes)?;
    Ok(sha256(&bytes))
}

fn scheduler_of(spec: &DenoiserSpec) -> SchedulerConfig {
    assemble::scheduler_of(&spec.schedule, spec.target, spec.loss.learns_range())
}

/// What the folder that a training begins from says, where that is not what it is trained for now.
///
/// # Errors
/// A scheduler's file that cannot be read.
pub(crate) fn another_meaning(recipe: &Recipe) -> Result<Option<String>> {
    let LearnerSpec::Denoiser(spec) = &recipe.learner else { return Ok(None) };
    let Some(folder) = spec.network.start_folder() else { return Ok(None) };
    let input = |error: SchedulerError| Error::input(error.to_string());
    let Some(file) = SchedulerConfig::find(&folder).map_err(input)? else { return Ok(None) };
    let there = SchedulerConfig { clip: None, ..SchedulerConfig::read(&file).map_err(input)? };
    let (there, here) = (there.to_string(), scheduler_of(spec).to_string());
    Ok((there != here)
        .then(|| format!("note: {} says: {there}; it is trained on for: {here}", file.display())))
}

/// A failed run, not the user's mistake.
pub(crate) fn failed(error: impl std::fmt::Display) -> Error {
    Error::Core(crate::core::Error::model(error.to_string()))
}

/// What a model card is made of.
pub(crate) struct Card<'a> {
    pub(crate) name: &'a str,
    pub(crate) settings: &'a Settings,
    pub(crate) set: &'a HeldSet,
    pub(crate) start: Option<String>,
    pub(crate) diary: &'a Diary,
    pub(crate) columns: &'a [String],
    pub(crate) measure: Option<&'a str>,
    pub(crate) steps: usize,
    pub(crate) grid: bool,
    pub(crate) seen: u64,
    pub(crate) seconds: f64,
    pub(crate) parameters: i64,
    pub(crate) sha256: &'a str,
    pub(crate) provenance: &'a Provenance,
}

impl Card<'_> {
    /// The card as Markdown: everything measured, and nothing that was not.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("# {}\n\n{}\n\n", self.name, self.what());
        if self.grid {
            let _ = write!(
                text,
                "![samples](samples.png)\n\nSamples by DDIM, eta 0, {} steps, from the seeds' first \
                 noise; none was chosen.\n\n",
                self.steps
            );
        }
        text += "| | |\n|---|---|\n";
        let rows = [
            ("Architecture", Some(self.architecture())),
            ("Predicts", self.target()),
            ("Data", Some(self.data())),
            ("Begun from", self.start.clone()),
            ("Training", Some(self.training())),
            ("Device, time", Some(self.device())),
            ("Loss", self.loss()),
            ("Measured", self.diary.exams.last().map(|exam| self.measured(exam))),
            ("SHA-256", Some(format!("`{}`", self.sha256))),
            ("Trained by", Some(self.program())),
        ];
        for (name, value) in rows {
            if let Some(value) = value {
                let _ = writeln!(text, "| {name} | {value} |");
            }
        }
        text
    }

    fn what(&self) -> String {
        let [c, h, w] = self.set.shape();
        let what = match &self.settings.learner {
            Learner::Denoiser(_) => "denoising network",
            Learner::Classifier(_) => "classifier, whose features serve distances,",
        };
        let colour = if c == 1 { "grey" } else { "colour" };
        format!("A {what} for {h} x {w} {colour} images, trained by `ddim train`.")
    }

    fn architecture(&self) -> String {
        let count = thousands(self.parameters.unsigned_abs());
        match &self.settings.learner {
            Learner::Denoiser(denoiser) => {
                let network = &denoiser.network;
                let widths: Vec<String> =
                    network.block_out_channels.iter().map(ToString::to_string).collect();
                format!(
                    "the UNet of DDPM (Ho, Jain, Abbeel 2020): channels {}, residual blocks a level {}, \
                     {} normalisation groups; {count} parameters, f32; diffusers' `UNet2DModel` opens \
                     the folder",
                    widths.join("-"),
                    network.layers_per_block,
                    network.norm_num_groups,
                )
            }
            Learner::Classifier(classifier) => {
                let widths: Vec<String> =
                    classifier.widths.iter().map(ToString::to_string).collect();
                format!(
                    "CIFAR ResNet-{} (He, Zhang, Ren, Sun 2016, section 4.2), widths {}, shortcuts \
                     without weights; {count} parameters, f32; its features are the values after the \
                     global mean",
                    classifier.depth,
                    widths.join("-"),
                )
            }
        }
    }

    fn target(&self) -> Option<String> {
        let Learner::Denoiser(denoiser) = &self.settings.learner else { return None };
        let target = denoiser.target.name();
        let ranged = if denoiser.loss.learns_range() {
            " and, in as many channels again, where the log-variance of a step lies between its bounds"
        } else {
            ""
        };
        let horizon = denoiser.schedule.horizon();
        let last = denoiser.schedule.level((horizon - 1) as f64).map_or(f64::NAN, |l| l.alpha_bar);
        Some(format!(
            "{target}{ranged}, for labels 0 to {} of a schedule that ends at alpha_bar {last:.3e} \
             (`scheduler_config.json`); images in [-1, 1]",
            horizon - 1
        ))
    }

    fn data(&self) -> String {
        let HeldSet { name, split, excluded, .. } = self.set;
        let left_out: usize = excluded.values().sum();
        let left_out = if left_out > 0 { format!(", {left_out} left out") } else { String::new() };
        let augmentation = self.settings.augmentation;
        let flips = if augmentation.flip { ", mirrored with probability 1/2" } else { "" };
        let shifts = match augmentation.shift {
            0 => String::new(),
            shift => format!(", moved by up to {shift} pixels"),
        };
        let count = thousands(self.set.len() as u64);
        format!("{name} {split}: {count} images{left_out}{flips}{shifts}")
    }

    fn training(&self) -> String {
        let Settings { batch, optimiser, ema, seed, precision, learner, .. } = self.settings;
        let passes = self.seen as f64 / self.set.len() as f64;
        let mut text = format!(
            "{} images ({passes:.1} passes), batch {batch}, Adam with rate {} (warm-up over {} images",
            thousands(self.seen),
            optimiser.rate,
            thousands(optimiser.warmup),
        );
        if optimiser.decay > 0.0 {
            let _ = write!(
                text,
                ", cosine decay to {} % over the last {} %",
                100.0 * optimiser.floor,
                100.0 * optimiser.decay
            );
        }
        let _ = write!(text, "), gradient norm at most {}", optimiser.clip);
        if optimiser.weight_decay > 0.0 {
            let _ = write!(text, ", weight decay {}", optimiser.weight_decay);
        }
        if let Learner::Denoiser(denoiser) = learner {
            let _ = write!(text, ", dropout {}", denoiser.dropout);
            if denoiser.weight_cap > 1.0 {
                let _ = write!(text, ", loss weight min(1 / alpha_bar, {})", denoiser.weight_cap);
            }
            let _ = match denoiser.loss {
                DenoiserLossKind::Simple => Ok(()),
                DenoiserLossKind::Hybrid(weight) => write!(
                    text,
                    ", loss L_simple + {weight} L_vlb in bits per dimension, whose gradient stops at the mean"
                ),
                DenoiserLossKind::Vlb => write!(text, ", loss L_vlb in bits per dimension"),
            };
            if denoiser.importance {
                text += ", timesteps drawn by the root mean square of their last losses";
            }
        }
        if *ema > 0.0 {
            let _ = write!(text, ", weights averaged with decay {ema}");
        }
        let _ = write!(text, ", {} arithmetic, seed {seed}", precision.name());
        text
    }

    fn device(&self) -> String {
        let Provenance { device, processor, threads, .. } = self.provenance;
        let minutes = self.seconds / 60.0;
        match device.as_str() {
            "cpu" => format!("{threads} threads of a CPU ({processor}), {minutes:.1} minutes"),
            _ => format!("{device}, {minutes:.1} minutes"),
        }
    }

    fn loss(&self) -> Option<String> {
        let row = self.diary.rows.last()?;
        let values = self.columns.iter().zip(&row.means).filter(|(_, mean)| mean.is_finite());
        let values: Vec<String> = values.map(|(name, mean)| format!("{name} {mean:.5}")).collect();
        let before = self.diary.rows.len().checked_sub(2).map_or(0, |i| self.diary.rows[i].seen);
        let over = thousands(row.seen - before);
        Some(format!("{}: means over the last {over} training images", values.join(", ")))
    }

    fn measured(&self, exam: &Exam) -> String {
        format!(
            "{} {} (95 % interval), N = {}",
            self.measure.unwrap_or_default(),
            exam.estimate,
            thousands(exam.n)
        )
    }

    fn program(&self) -> String {
        let Provenance { ddim, libtorch, commit, dirty, .. } = self.provenance;
        let commit = commit.as_ref().map_or_else(String::new, |commit| {
            let changed = if *dirty == Some(true) { ", changed" } else { "" };
            format!(" at {}{changed}", commit.get(..10).unwrap_or(commit))
        });
        format!("`ddim train` {ddim}{commit}, LibTorch {libtorch}")
    }
}
