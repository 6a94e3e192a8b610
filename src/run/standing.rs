//! What shards have drawn of a plan, and what is missing, from their folder alone.

use std::{
    collections::BTreeSet,
    fmt::Write,
    ops::Range,
    path::{Path, PathBuf},
};

use crate::{
    error::Result,
    plan::{Cell, Plan},
    results::{
        lock,
        partial::{self, Rows},
        provenance,
        record::Status,
        shard::Shard,
        sink,
    },
    run::{
        assemble::{Route, instruments},
        prepared::{Prepared, layout},
        runner::{Options, refuse_to_replace},
    },
};

/// How many cells a message lists.
const LISTED: usize = 8;

/// What there is of a cell.
#[derive(Clone, Debug)]
pub struct CellStanding {
    /// `#03  grid.steps: 10`
    pub name: String,
    /// Its row in `metrics.csv`.
    pub row: Option<Status>,
    /// What diverged in a shard.
    pub diverged: Option<String>,
    /// Which batches are there.
    pub done: Vec<bool>,
    turn: usize,
    batch: usize,
    samples: usize,
}

impl CellStanding {
    /// Whether nothing is left to draw.
    pub fn is_drawn(&self) -> bool {
        self.row.is_some() || self.diverged.is_some() || self.done.iter().all(|&done| done)
    }

    /// The batches that a shard still has to draw, of all that are its own.
    pub fn of(&self, shard: Shard) -> (usize, usize) {
        let own = self.own(shard);
        let all = own.len();
        let missing = if self.is_drawn() { 0 } else { own.filter(|&b| !self.done[b]).count() };
        (missing, all)
    }

    /// The batches of a shard.
    fn own(&self, shard: Shard) -> Range<usize> {
        shard.batches(self.turn, self.done.len())
    }

    /// How many samples are missing in some batches.
    fn missing(&self, batches: Range<usize>) -> usize {
        if self.is_drawn() {
            return 0;
        }
        let size = |batch: usize| self.batch.min(self.samples - batch * self.batch);
        batches.filter(|&batch| !self.done[batch]).map(size).sum()
    }
}

/// By how much the shares of each cell are turned: by its position, so that cells of few batches are spread,
/// and cells that share a reference solution alike, so that each shard solves only its part of it.
pub(super) fn turns(routes: &[Route]) -> Vec<usize> {
    let key = |route: &Route| {
        route.solution.as_ref().filter(|(_, calls)| *calls > 0).map(|(key, _)| key.clone())
    };
    let turn = |(index, route): (usize, &Route)| {
        let shared = key(route);
        let first = shared
            .and_then(|own| routes.iter().position(|other| key(other).as_ref() == Some(&own)));
        first.unwrap_or(index)
    };
    routes.iter().enumerate().map(turn).collect()
}

/// What there is of all cells of a plan.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The results folder.
    pub folder: PathBuf,
    /// The cells, in the order of the plan.
    pub cells: Vec<CellStanding>,
    /// The shards that run now.
    pub running: Vec<Shard>,
    /// The numbers of shards of which the folder has files.
    pub counts: BTreeSet<usize>,
    /// Files of rows of no cell of the plan.
    pub strange: usize,
    /// Lines about damaged files.
    pub remarks: Vec<String>,
}

impl Standing {
    /// Reads what there is in the folder of a plan, and changes nothing.
    ///
    /// # Errors
    /// Problems of the manifest, weights or reference, files that cannot be read, and a folder of other cells
    /// that was not chosen.
    pub fn of(plan: &Plan, options: &Options<'_>) -> Result<Self> {
        let mut prepared = Prepared::new(plan, options)?;
        if !options.chosen {
            refuse_to_replace(&options.folder, &prepared.planned)?;
        }
        Self::read(plan, &mut prepared, &options.folder)
    }

    pub(super) fn read(plan: &Plan, prepared: &mut Prepared<'_>, folder: &Path) -> Result<Self> {
        let rows = sink::finished(folder, &prepared.columns, &prepared.planned)?;
        let turns = turns(&prepared.routes);
        let running = lock::running(folder)?;
        // What is being written looks cut off.
        let is_busy = |remark: &&String| {
            running.iter().any(|shard| remark.contains(&format!("-{}.f32: ", shard.tag())))
        };
        let mut remarks = vec![];
        let mut cells = vec![];
        for (cell, row) in plan.cells.iter().zip(rows) {
            let key = &prepared.planned[cell.index].key;
            let instruments = instruments(&cell.spec, &mut prepared.stock.extractors)?;
            let layout = layout(cell, key, &instruments);
            let found = match row {
                Some(_) => None,
                None => Some(Rows::read(folder, layout, false)?),
            };
            let said = found.iter().flat_map(Rows::remarks).filter(|remark| !is_busy(remark));
            remarks.extend(said.cloned());
            cells.push(CellStanding {
                name: name(cell),
                row,
                diverged: found.as_ref().and_then(Rows::diverged).map(str::to_owned),
                done: found.map_or_else(|| vec![false; layout.batches()], |r| r.done().to_vec()),
                turn: turns[cell.index],
                batch: layout.batch,
                samples: layout.samples,
            });
        }
        let files: Vec<_> = partial::all(folder).collect();
        let is_planned = |start: &str| prepared.planned.iter().any(|c| c.key.starts_with(start));
        let strange = files.iter().filter(|file| !is_planned(&file.key)).count();
        let drew = files.iter().filter_map(|file| file.shard);
        let ran = provenance::of_shards(folder).into_iter().map(|(shard, _)| shard);
        let counts = drew.chain(ran).map(Shard::count).collect();
        Ok(Self { folder: folder.to_owned(), cells, running, counts, strange, remarks })
    }

    /// Whether every cell has its row.
    pub fn is_merged(&self) -> bool {
        self.cells.iter().all(|cell| cell.row.is_some())
    }

    /// Whether nothing is left to draw.
    pub fn is_drawn(&self) -> bool {
        self.cells.iter().all(CellStanding::is_drawn)
    }

    /// The batches that a shard still has to draw, of all that are its own.
    pub fn of_shard(&self, shard: Shard) -> (usize, usize) {
        let each = self.cells.iter().map(|cell| cell.of(shard));
        each.fold((0, 0), |(missing, all), (m, a)| (missing + m, all + a))
    }

    /// What is missing, shard by shard where it is known how many there are; none if nothing is. `command`
    /// draws what is missing, of a shard or of all.
    pub fn refusal(&self, command: &dyn Fn(Option<Shard>) -> String) -> Option<String> {
        let cells = self.cells.iter().filter(|cell| !cell.is_drawn()).count();
        if cells == 0 {
            return None;
        }
        let mut text = format!(
            "{} lacks samples of {cells} of {} cells",
            self.folder.display(),
            self.cells.len()
        );
        for remark in &self.remarks {
            let _ = write!(text, "\n  {remark}");
        }
        let Some(&count) = self.counts.last() else {
            let lacks = |(_, cell): (usize, &CellStanding)| {
                (cell.name.clone(), cell.missing(0..cell.done.len()))
            };
            text += &list(self.cells.iter().enumerate().map(lacks), "\n  ", ": ");
            let _ = write!(text, "\n`{}` draws them", command(None));
            return Some(text + &self.about_strange());
        };
        for shard in Shard::all(count) {
            let lacks = |(index, cell): (usize, &CellStanding)| {
                (format!("#{index:02}"), cell.missing(cell.own(shard)))
            };
            let lacks: Vec<(String, usize)> =
                self.cells.iter().enumerate().map(lacks).filter(|(_, n)| *n > 0).collect();
            if lacks.is_empty() {
                continue;
            }
            let all: usize = lacks.iter().map(|(_, n)| n).sum();
            let names: Vec<&str> = lacks.iter().map(|(name, _)| name.as_str()).collect();
            let more = names.len().saturating_sub(LISTED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let names = names[..names.len().min(LISTED)].join(", ");
            let how = if self.running.contains(&shard) {
                "it is running".to_owned()
            } else {
                format!("`{}` draws them", command(Some(shard)))
            };
            let _ = write!(text, "\n  shard {shard}: {all} samples of {names}{more}; {how}");
        }
        Some(text + &self.about_strange())
    }

    /// A line about files of other cells, if there are any.
    fn about_strange(&self) -> String {
        match self.strange {
            0 => String::new(),
            n => format!(
                "\n{n} files of samples there belong to no cell of this manifest: they were drawn with other \
                 settings, weights or another kind of device"
            ),
        }
    }
}

fn list(lacks: impl Iterator<Item = (String, usize)>, before: &str, between: &str) -> String {
    let lacks: Vec<_> = lacks.filter(|(_, n)| *n > 0).collect();
    let mut text = String::new();
    for (name, n) in lacks.iter().take(LISTED) {
        let _ = write!(text, "{before}{name}{between}{n} samples");
    }
    if lacks.len() > LISTED {
        let _ = write!(text, "{before}and {} more", lacks.len() - LISTED);
    }
    text
}

fn name(cell: &Cell) -> String {
    let params: Vec<String> =
        cell.params.iter().map(|(axis, label)| format!("{axis}: {label}")).collect();
    format!("#{:02}  {}", cell.index, params.join("  ")).trim_end().to_owned()
}
