//! `ddim check`.

use std::path::PathBuf;

use clap::Args;

use crate::harness::{
    build,
    error::{Error, Result},
    registry::Registry,
    runner,
};

#[derive(Debug, Args)]
pub(super) struct Check {
    /// The manifests
    #[arg(required = true, value_name = "FILE")]
    manifests: Vec<PathBuf>,

    /// Check under this profile whether the files it names are here
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,

    /// Change one value first
    #[arg(long = "set", value_name = "PATH=VALUE")]
    set: Vec<String>,
}

impl Check {
    #[allow(clippy::print_stdout, reason = "the verdicts are this command's data")]
    pub(super) fn run(&self, registry: &Registry) -> Result<()> {
        let mut failed = None;
        for path in &self.manifests {
            let checked = super::read_manifest(path).and_then(|manifest| {
                let vocabulary = build::vocabulary(registry);
                let plan = manifest
                    .plan(self.profile.as_deref(), &self.set, &vocabulary)
                    .map_err(Error::Manifest)?;
                runner::check(&plan, registry)?;
                Ok(plan.cells.len())
            });
            match checked {
                Ok(cells) => println!("{}: ok, {cells} cells", path.display()),
                Err(error) => {
                    if let Some(earlier) = failed.replace(error) {
                        super::report(&earlier);
                    }
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }
}
