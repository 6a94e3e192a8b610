//! `ddim table`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::{Talk, redraw};
use crate::{
    error::{Error, Result},
    report::{
        html,
        overview::{Format, Show},
    },
    run::{outline, registry::Registry},
};

#[derive(Debug, Args)]
#[command(
    after_help = "Without --format, writes table.md, table.tex and report.html, and prints the table as `ddim run`\n\
    does. Needs only the folder: no model, no weights.\n\nExamples:\n  \
    ddim table results/table1\n  \
    ddim table results/table1 --format csv\n  \
    ddim table results/table1 --json\n  \
    ddim table results/table1 --format tex > table.tex"
)]
pub(super) struct Table {
    /// The results folder, for instance results/table1
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    /// Print the table in this form, without writing files
    #[arg(long, value_enum, value_name = "FORM", conflicts_with = "out")]
    format: Option<Form>,

    /// Print the table as JSON, without writing files; the same as --format json
    #[arg(long, conflicts_with_all = ["format", "out"])]
    json: bool,

    /// Write into this folder instead of DIR
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    #[command(flatten)]
    talk: Talk,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// Markdown
    Md,
    /// LaTeX, for booktabs
    Tex,
    /// One line for each place of the table, with the columns of metrics.csv
    Csv,
    /// Cells, orders and verdicts on the claims
    Json,
    /// Plain text, as `ddim run` prints it
    Text,
}

impl Table {
    pub(super) fn run(&self, registry: &Registry) -> Result<()> {
        let folder = outline::read(&self.folder, registry)?;
        redraw::say_read(&folder, &self.folder, &self.talk);
        let show = Show::new(&folder.plan);
        let form = if self.json { Some(Form::Json) } else { self.format };
        let format = match form {
            Some(Form::Json) => Format::Json,
            Some(Form::Md) => Format::Markdown,
            Some(Form::Tex) => Format::Latex,
            Some(Form::Csv) => Format::Csv,
            Some(Form::Text) | None => Format::Text,
        };
        let Some(text) = show.table_as(&folder.records, format) else {
            return Err(Error::input(format!(
                "{}: its manifest has no [table]; add one there, or see metrics.csv",
                self.folder.display()
            )));
        };
        if form.is_none() {
            let mut files = show.tables(&folder.records);
            files.push((html::FILE.to_owned(), html::html(&folder)?.into_bytes()));
            files.extend(redraw::outline_of(&folder, &self.folder).filter(|_| self.out.is_none()));
            redraw::write(&files, self.out.as_ref().unwrap_or(&self.folder), &self.talk)?;
        }
        println!("{}", text.trim_end());
        Ok(())
    }
}
