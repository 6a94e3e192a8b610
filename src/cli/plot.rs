//! `ddim plot`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::{Talk, redraw};
use crate::{
    error::Result,
    report::{html, overview::Show},
    run::{outline, registry::Registry},
};

#[derive(Debug, Args)]
#[command(
    after_help = "Draws every [[plot]] of the folder's manifest.toml as SVG and PNG; edit it there to change a plot.\n\
    A fitted line also goes to NAME-fit.csv; the sheets of samples are drawn again from strips/. Needs\n\
    only the folder: no model, no weights.\n\nExamples:\n  \
    ddim plot results/table1\n  \
    ddim plot results/table1 --out figures"
)]
pub(super) struct Plot {
    /// The results folder, for instance results/table1
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    /// Write into this folder instead of DIR
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    #[command(flatten)]
    talk: Talk,
}

impl Plot {
    pub(super) fn run(&self, registry: &Registry) -> Result<()> {
        let folder = outline::read(&self.folder, registry)?;
        redraw::say_read(&folder, &self.folder, &self.talk);
        let show = Show::new(&folder.plan);
        let mut files = show.plots(&folder.records, &folder.timings)?;
        files.extend(show.draw_sheets(|cell| folder.strip_of(&self.folder, cell))?);
        files.push((html::FILE.to_owned(), html::html(&folder)?.into_bytes()));
        files.extend(redraw::outline_of(&folder, &self.folder).filter(|_| self.out.is_none()));
        redraw::write(&files, self.out.as_ref().unwrap_or(&self.folder), &self.talk)
    }
}
