//! `ddim models`.

use std::path::PathBuf;

use clap::Args;

use crate::{cli::inventory, data::Places, error::Result, networks::home, plan::ExactKind};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ddim models\n  ddim models ~/my-models")]
pub(super) struct Models {
    /// Further folders to search, besides models/ and the caches
    #[arg(value_name = "DIR")]
    folders: Vec<PathBuf>,
}

impl Models {
    #[allow(clippy::print_stdout, reason = "the list is this command's data")]
    pub(super) fn run(&self) -> Result<()> {
        let places = Places::from_env();
        let folders = [home::own(), places.cache.clone()];
        let mut items = vec![];
        for folder in folders.iter().flatten().chain(&self.folders) {
            items.extend(inventory::models(folder)?);
        }
        items.extend(inventory::hub_models());
        let names = ExactKind::ALL.into_iter().map(|kind| kind.name().to_owned());
        items.extend(inventory::exact_scores(names));
        items.extend(inventory::data_sets(&places));
        print!("{}", inventory::table(&items));
        if home::own().is_none() {
            eprintln!("ddim's own models were not found: {}", home::looked(home::MODELS));
        }
        Ok(())
    }
}
