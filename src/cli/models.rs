//! `ddim models`.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::{
    data::Places,
    harness::{build, error::Result, inventory, registry::Registry},
};

/// Where the project keeps its own, seen from the repository.
const EMBEDDED: &str = "models";

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ddim models\n  ddim models ~/my-models")]
pub(super) struct Models {
    /// Folders to look into beside models/ and the caches
    #[arg(value_name = "DIR")]
    folders: Vec<PathBuf>,
}

impl Models {
    #[allow(clippy::print_stdout, reason = "the list is this command's data")]
    pub(super) fn run(&self, registry: &Registry) -> Result<()> {
        let places = Places::from_env();
        let folders = [Some(PathBuf::from(EMBEDDED)), places.cache.clone()];
        let mut items = vec![];
        for folder in folders.iter().flatten().chain(&self.folders) {
            items.extend(inventory::models(folder)?);
        }
        items.extend(inventory::hub_models());
        let names = build::vocabulary(registry).models.into_iter().map(|kind| kind.name);
        items.extend(inventory::exact_scores(names));
        items.extend(inventory::data_sets(&places));
        print!("{}", inventory::table(&items));
        if !Path::new(EMBEDDED).is_dir() {
            eprintln!(
                "there is no folder {EMBEDDED}/ here: the embedded ones are in the repository"
            );
        }
        Ok(())
    }
}
