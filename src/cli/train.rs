//! `ddim train`.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::{Compute, Experiment, Talk, fetch};
use crate::{
    data::{self, Places, Request, Split},
    error::Result,
    run::registry::Registry,
    terminal::interruption,
    train::{
        job::{self, Images, Options},
        recipe::{LearnerSpec, Recipe},
    },
};

#[derive(Debug, Args)]
#[command(
    after_help = "Writes model/, which every other command opens, with a model card; the loss by parts of t, samples\n\
    and their distance as CSV and plots; and checkpoints. Ctrl-C keeps what was learned, and the same\n\
    command continues: on the CPU, to the same bytes as without the interruption.\n\nExamples:\n  \
    ddim train experiments/train/fashion-mnist.toml --download\n  \
    ddim train experiments/train/cifar10-small.toml --set budget.minutes=10 --out /tmp/short\n  \
    ddim train experiments/train/cifar10.toml --device cuda\n  \
    ddim sample --model training/fashion-mnist/model --out clothes.png",
    mut_arg("manifest", |manifest| {
        manifest.help("The manifest, for instance experiments/train/fashion-mnist.toml")
    }),
    mut_arg("set", |set| set.help(
        "Set one value, for instance --set budget.minutes=10 or --set loss.target=v; `PATH=` \
         removes it; may be repeated"
    )),
    mut_arg("precision", |precision| precision.help(
        "Arithmetic of the network, f32 or bf16; the same as --set precision=KIND"
    ))
)]
pub(super) struct Train {
    #[command(flatten)]
    experiment: Experiment,

    /// Output folder [default: training/NAME, or training/NAME-PROFILE with --profile]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Start again, ignoring the folder's checkpoints
    #[arg(long)]
    fresh: bool,

    /// Download a missing data set into the cache
    #[arg(long)]
    download: bool,

    #[command(flatten)]
    compute: Compute,

    #[command(flatten)]
    talk: Talk,
}

impl Train {
    #[allow(clippy::print_stdout, reason = "the model card is this command's data")]
    pub(super) fn run(&self, registry: &Registry) -> Result<()> {
        let recipe = self.experiment.recipe()?;
        let folder = self.out.clone().unwrap_or_else(|| {
            let profile = recipe.profile.as_ref().map_or_else(String::new, |p| format!("-{p}"));
            Path::new("training").join(format!("{}{profile}", recipe.name))
        });
        recipe.check_files()?;
        let images = self.images(&recipe)?;
        let shown = folder.display().to_string();
        let card = job::train(
            &recipe,
            &images,
            &Options {
                registry,
                folder,
                hardware: self.compute.open()?,
                progress: self.talk.mode(),
                fresh: self.fresh,
                interrupted: &interruption::INTERRUPTED,
            },
        )?;
        println!("{}", card.trim_end());
        self.talk.say(|| format!("the model is in {shown}/model"));
        Ok(())
    }
}

impl Train {
    /// The images of a recipe, and for a classifier those of the other split where there is one.
    fn images(&self, recipe: &Recipe) -> Result<Images> {
        let load = |request: &Request<'_>| {
            let places = Places::from_env();
            let set = fetch::shown(&self.talk, |watch| data::load(request, &places, watch))?;
            Result::Ok(set.held()?)
        };
        let set = load(&recipe.data.request(None, self.download))?;
        set.notes.iter().for_each(|note| self.talk.say(|| note.clone()));
        let tested = matches!(recipe.learner, LearnerSpec::Classifier(_))
            && recipe.data.split != Some(Split::Test)
            && set.split == Split::Train.name();
        let test = tested.then(|| {
            let request =
                Request { split: Some(Split::Test), ..recipe.data.request(None, self.download) };
            load(&request)
        });
        Ok(Images { set, test: test.transpose()? })
    }
}
