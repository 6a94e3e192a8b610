//! `ddim check`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::{Changes, Talk};
use crate::{
    error::{Error, Result},
    run::{assemble, registry::Registry, runner},
    train::recipe::Recipe,
};

#[derive(Debug, Args)]
#[command(
    after_help = "Checks names, numbers and grids, and that files exist; for a training, also that its images fit the\n\
    network. Loads no network. With -v, also lists the cells of experiments.\n\nExamples:\n  \
    ddim check experiments/table1.toml\n  \
    ddim check experiments/table1.toml --profile full -v\n  \
    ddim check experiments/table1.toml --set grid.tau=linspace"
)]
pub(super) struct Check {
    /// The manifests
    #[arg(required = true, value_name = "FILE")]
    manifests: Vec<PathBuf>,

    /// Check with this profile, including the files it names
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,

    #[command(flatten)]
    changes: Changes,

    #[command(flatten)]
    talk: Talk,
}

impl Check {
    #[allow(clippy::print_stdout, reason = "the verdicts are this command's data")]
    pub(super) fn run(&self, registry: &Registry) -> Result<()> {
        let arguments = self.changes.arguments()?;
        let mut failed = None;
        for path in &self.manifests {
            let checked = crate::cli::read_manifest(path).and_then(|manifest| {
                if manifest.is_training() {
                    let recipe = Recipe::of(&manifest, self.profile.as_deref(), &arguments)
                        .map_err(Error::Manifest)?;
                    recipe.check_files()?;
                    return Ok(format!("trains {}", recipe.aim()));
                }
                let vocabulary = assemble::vocabulary(registry);
                let plan = manifest
                    .plan(self.profile.as_deref(), &arguments, &vocabulary)
                    .map_err(Error::Manifest)?;
                let routes = runner::check(&plan, registry)?;
                crate::cli::warn(&plan, registry, &self.talk)?;
                for (cell, route) in plan.cells.iter().zip(&routes) {
                    self.talk.note(|| runner::describe(cell, route));
                    self.talk.detail(|| format!("     {}", cell.spec.canonical_json()));
                }
                let models = plan.cells.iter().map(|cell| &cell.spec.model);
                let missing = assemble::to_download(models)?;
                if missing.is_empty() {
                    self.talk.about_models(&plan);
                }
                for model in missing {
                    self.talk.say(|| {
                        format!("{}: {model} is not here; a run downloads it", path.display())
                    });
                }
                Ok(format!("{} cells", plan.cells.len()))
            });
            match checked {
                Ok(what) => println!("{}: ok, {what}", path.display()),
                Err(error) => {
                    if let Some(earlier) = failed.replace(error) {
                        crate::cli::report(&earlier, None);
                    }
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }
}
