//! The manifest of a training read as a [`Recipe`], defaults filled in.

use std::path::PathBuf;

use crate::manifest::{
    Argument, Manifest,
    cell::read_schedule,
    presentation::check_file_name,
    reader::{Problems, Reader},
};
use crate::{
    data::{Resize, Split},
    diagnostic::{Diagnostic, Diagnostics, Place},
    manifest::overlay::{Table, Value},
    networks::{placement::Precision, predicts::Predicts},
    plan::{ScheduleSpec, stated::Written},
    train::{
        recipe::{
            network::{read_classifier, read_network},
            spec::{DataSpec, DenoiserSpec, DistanceSpec, LearnerSpec, Recipe, WatchSpec},
        },
        settings::{Augmentation, Budget, DenoiserLossKind, Optimiser},
    },
};

/// What a manifest's `task` may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LearnerName {
    Denoiser,
    Classifier,
}

impl LearnerName {
    const ALL: [(&'static str, Self); 2] =
        [("denoiser", Self::Denoiser), ("classifier", Self::Classifier)];

    fn name(self) -> &'static str {
        match self {
            Self::Denoiser => "denoiser",
            Self::Classifier => "classifier",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Denoiser => Self::Classifier,
            Self::Classifier => Self::Denoiser,
        }
    }
}

/// The losses of a denoiser.
const LOSSES: [(&str, DenoiserLossKind); 3] = [
    ("simple", DenoiserLossKind::Simple),
    ("hybrid", DenoiserLossKind::Hybrid(VLB_WEIGHT)),
    ("vlb", DenoiserLossKind::Vlb),
];

/// The weight of the bound in a hybrid loss (Nichol, Dhariwal 2021, Eq. 16).
const VLB_WEIGHT: f64 = 0.001;

/// How timesteps are drawn: whether where the loss is large.
const TIMESTEPS: [(&str, bool); 2] = [("uniform", false), ("importance", true)];

/// Fewer samples do not spread enough for a distance.
const LEAST_FD_SAMPLES: usize = 20;

/// What only experiments have, and why a training does not.
const OF_EXPERIMENTS: [(&str, &str); 3] = [
    ("sweep", "train once for each value: `--set PATH=VALUE`"),
    ("solver", "its samples are DDIM's, in `watch.steps` steps"),
    ("metrics", "its distance is asked for in `[watch]`"),
];

impl Recipe {
    /// Reads the text of a manifest with arguments laid over it; `name` is what problems
    /// call it, usually its path.
    ///
    /// # Errors
    /// Every problem of the manifest, its profiles included, and of the arguments.
    pub fn parse(
        name: impl Into<String>,
        text: impl Into<String>,
        arguments: &[Argument],
    ) -> Result<Self, Diagnostics> {
        Self::of(&Manifest::parse(name, text)?, None, arguments)
    }

    /// Reads a manifest under a profile and with arguments laid over it.
    ///
    /// # Errors
    /// As [`Recipe::parse`].
    pub fn of(
        manifest: &Manifest,
        profile: Option<&str>,
        arguments: &[Argument],
    ) -> Result<Self, Diagnostics> {
        manifest.recipe(profile, arguments)
    }
}

impl Manifest {
    /// Whether it describes a training and no experiment.
    pub fn is_training(&self) -> bool {
        let task = self.base.get("task").map(|entry| &entry.node.value);
        let named = matches!(task, Some(Value::String(task))
            if LearnerName::ALL.iter().any(|(name, _)| name == task));
        // No experiment has a budget: what is wrong is its task.
        named || self.base.get("budget").is_some()
    }

    /// Reads the manifest of a training under a profile and with arguments laid over it.
    ///
    /// # Errors
    /// Every problem of the manifest, its other profiles included, and of the arguments.
    fn recipe(&self, profile: Option<&str>, arguments: &[Argument]) -> Result<Recipe, Diagnostics> {
        let whole = Place::whole(&self.source);
        if !self.is_training() {
            let problem = Diagnostic::error(whole, "this manifest does not describe a training").help(
                "a training has `task = \"denoiser\"` or `task = \"classifier\"`; experiments are run \
                 by `ddim run`",
            );
            return Err(Diagnostics::new(vec![problem]));
        }
        let mut problems = Problems::default();
        let overlays = self.overlays(profile, arguments, &mut problems);
        let recipe =
            self.under_every_profile(profile, &overlays, &mut problems, |over, problems| {
                read(self.laid_over(over), &whole, problems)
            });
        if problems.list.is_empty() {
            let text = self.as_run(profile, arguments, &overlays);
            Ok(Recipe { profile: profile.map(str::to_owned), text, ..recipe })
        } else {
            Err(Diagnostics::new(problems.list))
        }
    }
}

/// Reads a training under the profile and the arguments that were laid over it.
pub(crate) fn read(tree: Table, whole: &Place, problems: &mut Problems) -> Recipe {
    let mut root = Reader::new(&tree, whole.clone(), problems);
    let name: String = root.need("name", "what the training is called: `name = \"cifar10-small\"`");
    check_file_name(&mut root, "name", &name);
    let learned = root.choice("task", &LearnerName::ALL);
    if root.entry("task").is_none() {
        root.missing("task", "`task = \"denoiser\"` or `task = \"classifier\"`");
    }
    let chosen = root.place("task");
    let is_classifier = learned == Some(LearnerName::Classifier);
    let seed = root.get("seed").unwrap_or(0);
    let batch = root.get("batch").unwrap_or(32);
    root.ensure("batch", batch > 0, "at least 1", "images of one step, for instance 32");
    if is_classifier {
        let help = "batch normalisation needs several images to take a variance of";
        root.ensure("batch", batch != 1, "at least 2", help);
    }
    let precisions = [("f32", Precision::F32), ("bf16", Precision::Bf16)];
    let precision = root.choice("precision", &precisions).unwrap_or_default();
    let (data, augmentation) = root.section("data", read_data);
    let budget = read_budget(&mut root, batch);
    let denoiser = Sections { learned, own: LearnerName::Denoiser, chosen: chosen.clone() };
    let schedule = denoiser.section(&mut root, "schedule", read_training_schedule);
    let LossSpec { target, weight_cap, loss, importance } =
        denoiser.section(&mut root, "loss", read_loss);
    if schedule.zero_terminal_snr && target == Predicts::Eps && !is_classifier {
        let message =
            "a network of eps learns nothing at alpha_bar = 0, where x is the noise itself";
        let place = root.place("schedule");
        let help = "`loss.target = \"v\"` or \"x0\", or no `zero_terminal_snr`";
        root.report(Diagnostic::error(place, message).help(help));
    }
    let learner = root.section("network", |r| {
        if is_classifier {
            let keys = ["channels", "layers", "attention", "groups", "dropout", "start", "widen"];
            denoiser.refuse(r, &keys);
            return LearnerSpec::Classifier(read_classifier(r));
        }
        let classifier = Sections { learned, own: LearnerName::Classifier, chosen: chosen.clone() };
        classifier.refuse(r, &["depth", "widths"]);
        let network = read_network(r);
        if network.widen && !loss.learns_range() {
            let message = "`network.widen` makes room for a variance, and this loss learns none";
            let help = "`loss.kind = \"hybrid\"` learns one, or remove `widen`";
            r.report(Diagnostic::error(r.place("widen"), message).help(help));
        }
        let spec = DenoiserSpec { network, schedule, target, weight_cap, loss, importance };
        LearnerSpec::Denoiser(spec)
    });
    let ema = if is_classifier { 0.0 } else { 0.9999 };
    let (optimiser, ema) = root.section("optimiser", |r| read_optimiser(r, ema, budget));
    let horizon = match &learner {
        LearnerSpec::Denoiser(spec) => spec.schedule.horizon,
        LearnerSpec::Classifier(_) => usize::MAX,
    };
    let watch = root.section("watch", |r| {
        let keys = ["every", "samples", "steps", "features", "reference", "fd_samples"];
        denoiser.refuse(r, &keys);
        read_watch(r, batch, horizon)
    });
    for (key, help) in OF_EXPERIMENTS {
        if root.sound(key)
            && let Some(entry) = root.entry(key)
        {
            let message = format!("`{key}` does not apply to a training");
            root.report(Diagnostic::error(entry.place.clone(), message).help(help));
        }
    }
    root.finish();
    Recipe {
        name,
        profile: None,
        seed,
        batch,
        precision,
        data,
        augmentation,
        learner,
        optimiser,
        ema,
        budget,
        watch,
        text: String::new(),
        whole: whole.clone(),
        tree,
    }
}

/// Keys that only one task has.
struct Sections {
    learned: Option<LearnerName>,
    own: LearnerName,
    chosen: Place,
}

impl Sections {
    /// Whether the other task is the manifest's; of a misspelled one nothing is known.
    fn foreign(&self) -> bool {
        self.learned == Some(self.own.other())
    }

    /// Reports the keys that do not apply to the manifest's task.
    fn refuse(&self, r: &mut Reader<'_>, keys: &[&str]) {
        for key in keys.iter().filter(|_| self.foreign()) {
            if r.sound(key)
                && let Some(entry) = r.entry(key)
            {
                let (task, owner) = (self.own.other().name(), self.own.name());
                let message = format!("`{}` does not apply to a {task}", r.path(key));
                let help = format!("it belongs to `task = \"{owner}\"`: remove it, or choose that");
                let problem = Diagnostic::error(entry.place.clone(), message);
                r.report(problem.also(self.chosen.clone(), "chosen here").help(help));
            }
        }
    }

    /// Reads a section of the task that owns it; under the other it is refused and not read.
    fn section<T>(
        &self,
        root: &mut Reader<'_>,
        key: &str,
        read: impl FnOnce(&mut Reader<'_>) -> T,
    ) -> T {
        if self.foreign() {
            self.refuse(root, &[key]);
            let nothing = Table::default();
            let mut unread = Problems::default();
            return read(&mut Reader::new(&nothing, self.chosen.clone(), &mut unread));
        }
        root.section(key, read)
    }
}

fn read_data(r: &mut Reader<'_>) -> (DataSpec, Augmentation) {
    let source = r.need("source", "a data set's name, such as `fashion-mnist`, or a path");
    let split = r.choice("split", &[("train", Split::Train), ("test", Split::Test)]);
    let exclude: Option<String> = r.get("exclude");
    let mode: Option<String> = r.get("resize");
    let resize = match mode.as_deref().map(str::parse) {
        None => Resize::None,
        Some(Ok(resize)) => resize,
        Some(Err(problem)) => {
            let message = format!("`{}` cannot be read: {problem}", r.path("resize"));
            let help = "the same modes as `--resize` has: `resize = \"pad:32\"`";
            r.report(Diagnostic::error(r.place("resize"), message).help(help));
            Resize::None
        }
    };
    let spec = DataSpec {
        source,
        split,
        exclude: exclude.map(PathBuf::from),
        resize,
        rgb: r.get("rgb").unwrap_or(false),
    };
    let flip = r.get("flip").unwrap_or(false);
    (spec, Augmentation { flip, shift: r.get("shift").unwrap_or(0) })
}

fn read_budget(root: &mut Reader<'_>, batch: usize) -> Budget {
    let sized = root.sound("batch") || root.entry("batch").is_none();
    root.section("budget", |r| {
        let images: Option<u64> = r.get("images");
        let minutes: Option<f64> = r.get("minutes");
        let given = ["images", "minutes"].map(|key| r.entry(key).is_some());
        let enough = images.is_none_or(|images| images >= batch as u64) || !sized;
        let help = "images are counted each time they are seen";
        r.ensure("images", enough, &format!("at least one batch of {batch}"), help);
        let positive = minutes.is_none_or(|minutes| minutes > 0.0);
        r.ensure("minutes", positive, "positive", "how long may it take? `minutes = 50`");
        match given {
            [true, true] => {
                let problem = Diagnostic::error(
                    r.place("minutes"),
                    "`budget.images` and `budget.minutes` are both given",
                );
                let problem = problem
                    .also(r.place("images"), "the images")
                    .help("a training ends after one of them: remove the other");
                r.report(problem);
            }
            [false, false] => {
                r.missing(
                    "images",
                    "`images = 400_000`, or `minutes = 50` to let the machine decide",
                );
            }
            _ => {}
        }
        match (images, minutes) {
            (Some(images), _) => Budget::Images(images),
            (None, minutes) => Budget::Minutes(minutes.unwrap_or(1.0)),
        }
    })
}

fn read_training_schedule(r: &mut Reader<'_>) -> ScheduleSpec {
    let spec = read_schedule(r, None, &mut Written::default());
    // 0 is refused with the rest of the schedule.
    let help = "the number of levels T, often 1000";
    r.ensure("horizon", spec.horizon != 1, "at least 2", help);
    spec
}

/// `[loss]`.
struct LossSpec {
    target: Predicts,
    weight_cap: f64,
    loss: DenoiserLossKind,
    importance: bool,
}

fn read_loss(r: &mut Reader<'_>) -> LossSpec {
    let targets = Predicts::ALL.map(|target| (target.name(), target));
    let target = r.choice("target", &targets).unwrap_or_default();
    let weight_cap = r.get("weight_cap").unwrap_or(1.0);
    let help = "1 is L_simple; a few units give high noise more weight in a short training";
    r.ensure("weight_cap", weight_cap >= 1.0, "1 or more", help);
    if target != Predicts::Eps && r.sound("weight_cap") {
        let problem = Diagnostic::error(
            r.place("weight_cap"),
            "`loss.weight_cap` weighs the error of eps alone",
        )
        .also(r.place("target"), "the target is another")
        .help(
            "remove it (on the command line, `--set loss.weight_cap=` removes it), or choose \
             `target = \"eps\"`",
        );
        r.report(problem);
    }
    let kind = r.choice("kind", &LOSSES).unwrap_or_default();
    let vlb_weight = r.get("vlb_weight").unwrap_or(VLB_WEIGHT);
    let help = "the paper's is 0.001: a larger one lets the bound disturb the shared layers";
    r.ensure("vlb_weight", vlb_weight > 0.0, "positive", help);
    let importance = r.choice("timesteps", &TIMESTEPS);
    let belongs = [
        ("weight_cap", kind != DenoiserLossKind::Vlb, "`simple` and `hybrid`"),
        ("vlb_weight", matches!(kind, DenoiserLossKind::Hybrid(_)), "`hybrid`"),
        ("timesteps", kind.learns_range(), "`hybrid` and `vlb`"),
    ];
    for (key, applies, owners) in belongs {
        if !applies && r.sound(key) && r.entry(key).is_some() {
            let message = format!("`{}` does not apply to this kind of loss", r.path(key));
            let mut problem = Diagnostic::error(r.place(key), message)
                .help(format!("it belongs to {owners}; remove it, or choose such a `kind`"));
            if r.sound("kind") && r.entry("kind").is_some() {
                problem = problem.also(r.place("kind"), "chosen here");
            }
            r.report(problem);
        }
    }
    let loss = match kind {
        DenoiserLossKind::Hybrid(_) => DenoiserLossKind::Hybrid(vlb_weight),
        other => other,
    };
    // The paper's choice for each.
    let importance = importance.unwrap_or(loss == DenoiserLossKind::Vlb);
    LossSpec { target, weight_cap, loss, importance }
}

fn read_optimiser(r: &mut Reader<'_>, default_ema: f64, budget: Budget) -> (Optimiser, f64) {
    let default = Optimiser::default();
    let warmup = r.get("warmup").unwrap_or(default.warmup);
    if let Budget::Images(images) = budget {
        let help = "the rate would never reach its height: `warmup` counts images, not steps";
        r.ensure("warmup", warmup <= images, &format!("at most the budget, {images}"), help);
    }
    let mut number = |key, default, holds: fn(f64) -> bool, rule, help| {
        let value: f64 = r.get(key).unwrap_or(default);
        r.ensure(key, holds(value), rule, help);
        value
    };
    let positive: fn(f64) -> bool = |x| x > 0.0;
    let part: fn(f64) -> bool = |x| (0.0..=1.0).contains(&x);
    let below_one: fn(f64) -> bool = |x| (0.0..1.0).contains(&x);
    let (in_part, in_below) = ("from 0 to 1", "at least 0 and below 1");
    let optimiser = Optimiser {
        rate: number("rate", default.rate, positive, "positive", "the papers' is 2e-4"),
        warmup,
        decay: number(
            "decay",
            default.decay,
            part,
            in_part,
            "the last part of the budget, over which the rate falls",
        ),
        floor: number(
            "floor",
            default.floor,
            part,
            in_part,
            "what the rate falls to, in parts of it",
        ),
        beta1: number("beta1", default.beta1, below_one, in_below, "Adam's is 0.9"),
        beta2: number("beta2", default.beta2, below_one, in_below, "Adam's is 0.999"),
        epsilon: number("epsilon", default.epsilon, positive, "positive", "Adam's is 1e-8"),
        weight_decay: number(
            "weight_decay",
            default.weight_decay,
            |x| x >= 0.0,
            "0 or more",
            "weights shrink by this times the rate in each step; 0 leaves them",
        ),
        clip: number(
            "clip",
            default.clip,
            positive,
            "positive",
            "the largest norm of a gradient, often 1",
        ),
    };
    let ema = number(
        "ema",
        default_ema,
        below_one,
        in_below,
        "0.9999 for a long training, 0.9995 for a short one; 0 keeps the weights themselves",
    );
    (optimiser, ema)
}

fn read_watch(r: &mut Reader<'_>, batch: usize, horizon: usize) -> WatchSpec {
    let log = r.get("log").unwrap_or((batch as u64).max(10_000));
    r.ensure("log", log > 0, "at least 1", "images of a row of loss.csv, for instance 10_000");
    let checkpoint = r.get("checkpoint").unwrap_or(120.0);
    r.ensure("checkpoint", checkpoint > 0.0, "positive", "seconds between two, for instance 120");
    let every = r.get("every");
    let help = "images between two grids; without it there is one at the end";
    r.ensure("every", every != Some(0), "at least 1", help);
    let samples = r.get("samples").unwrap_or(64);
    r.ensure("samples", samples > 0, "at least 1", "images of a grid, for instance 64");
    let steps = r.get("steps").unwrap_or(20);
    let rule = format!("from 1 to {horizon}, the levels of the schedule");
    let possible = steps > 0 && (steps <= horizon || horizon == 0);
    r.ensure("steps", possible, &rule, "DDIM steps of the samples, for instance 20");
    WatchSpec { log, checkpoint, every, samples, steps, distance: read_distance(r) }
}

fn read_distance(r: &mut Reader<'_>) -> Option<DistanceSpec> {
    let features: Option<String> = r.get("features");
    let reference: Option<String> = r.get("reference");
    let samples = r.get("fd_samples").unwrap_or(512);
    let rule = format!("at least {LEAST_FD_SAMPLES}");
    let help = "a distance of fewer says nothing; those of 512 and more rank well";
    r.ensure("fd_samples", samples >= LEAST_FD_SAMPLES, &rule, help);
    let (has_features, has_reference) = (r.sound("features"), r.sound("reference"));
    if has_features != has_reference {
        let (there, lacking) =
            if has_features { ("features", "reference") } else { ("reference", "features") };
        if r.entry(lacking).is_none() {
            let message = format!("`watch.{there}` without `watch.{lacking}`");
            let help = "a distance is that of features to a reference: give both, or neither";
            r.report(Diagnostic::error(r.place(there), message).help(help));
        }
    } else if !has_features && r.sound("fd_samples") {
        let message = "`watch.fd_samples` is used by no distance";
        let help = "remove it, or give `features` and `reference`";
        r.report(Diagnostic::error(r.place("fd_samples"), message).help(help));
    }
    Some(DistanceSpec { features: features?, reference: reference?, samples })
}
