//! Draws the samples of one shard of a plan, and leaves the rest to the others and to a merge.

use std::{cell::RefCell, collections::BTreeSet};

use crate::{
    error::Result,
    plan::Plan,
    results::{
        folder::strip_path,
        lock::Lock,
        partial::{Partial, Work},
        provenance::{self, Provenance, unix_time},
        shard::Shard,
        sink::{self, write_atomically},
    },
    run::{
        assemble::instruments,
        prepared::{Prepared, later_solutions, layout},
        runner::{Options, describe, refuse_to_replace, said_of},
        standing::turns,
    },
    terminal::progress::Progress,
};

/// What a shard did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Samples that it drew now.
    pub drawn: usize,
    /// Samples of its own that were there already.
    pub found: usize,
}

/// Draws what a shard lacks of its batches of every cell, and keeps it in the folder.
///
/// # Errors
/// As a run of the plan; also if the shard runs already, or a run of the whole. A cell that diverges is
/// noted down in the folder.
pub fn run(plan: &Plan, options: &Options<'_>, shard: Shard) -> Result<Share> {
    let mut prepared = Prepared::new(plan, options)?;
    prepared.say(plan, options)?;
    let Prepared { routes, mut stock, planned, inputs, columns, .. } = prepared;
    let folder = &options.folder;
    if !options.chosen {
        refuse_to_replace(folder, &planned)?;
    }
    sink::create(folder)?;
    let _lock = Lock::of_shard(folder, shard)?;
    let finished = sink::finished(folder, &columns, &planned)?;

    let batches = |cell: usize| plan.cells[cell].spec.samples.div_ceil(plan.cells[cell].spec.batch);
    let turns = turns(&routes);
    let own = |cell: usize| shard.batches(turns[cell], batches(cell));
    let todo: Vec<usize> = (0..plan.cells.len())
        .filter(|&cell| finished[cell].is_none() && !own(cell).is_empty())
        .collect();
    let samples = |cell: usize| {
        let spec = &plan.cells[cell].spec;
        let first = |batch: usize| batch.saturating_mul(spec.batch).min(spec.samples);
        first(own(cell).end) - first(own(cell).start)
    };
    let total = todo.iter().map(|&cell| samples(cell) as u64 * routes[cell].calls).sum();
    let progress = Progress::new(total, options.progress);
    let file = provenance::path_of(folder, shard);
    let here = Provenance::here(options.hardware.name(), options.hardware.threads(), inputs);
    let here = RefCell::new(here.of(plan).on_this_host().after_shard(folder, shard));
    let keep =
        || -> Result<()> { Ok(write_atomically(&file, &here.borrow().clone().finished().json())?) };
    let mut share = Share { drawn: 0, found: 0 };
    let mut diverged = BTreeSet::new();
    for (done, &index) in todo.iter().enumerate() {
        let (cell, route, key) = (&plan.cells[index], &routes[index], &planned[index].key);
        stock.models.want_solutions(&later_solutions(&routes, &todo[done + 1..]));
        let instruments = instruments(&cell.spec, &mut stock.extractors)?;
        let mut partial = Partial::open(folder, layout(cell, key, &instruments), Some(shard))?;
        for remark in partial.rows().remarks() {
            progress.line(&format!("warning: {remark}"));
        }
        let mut missing = partial.rows().missing(own(index));
        if partial.rows().diverged().is_some() {
            diverged.insert(index);
            missing.clear();
        }
        let lacks: usize = missing.iter().map(ExactSizeIterator::len).sum();
        let found = samples(index) - lacks;
        progress.skip(found as u64 * route.calls);
        (share.drawn, share.found) = (share.drawn + lacks, share.found + found);
        if missing.is_empty() {
            continue;
        }
        progress.cell(&format!("{}, {lacks} of them here", describe(cell, route)));
        keep()?;
        let note = |line: String| {
            here.borrow_mut().note_smaller(key, line);
            keep()
        };
        let (told, named) = ((options, &progress), (key.as_str(), &note as _));
        let drawn = stock
            .draw(cell, &instruments, &mut partial, &missing, told, named)
            .inspect_err(|_| progress.finish())?;
        if let Some(text) = drawn {
            progress.line(&said_of(cell, &text));
            let threads = options.hardware.threads();
            partial.diverge(&text, Work { started: unix_time(), threads, ..Work::default() })?;
            diverged.insert(index);
        }
        keep()?;
    }
    progress.finish();
    // The first pictures of a cell are its first batch's: lost ones are drawn again where that belongs.
    for index in todo.into_iter().filter(|index| own(*index).contains(&0)) {
        if !diverged.contains(&index) {
            let path = strip_path(folder, &planned[index].key);
            stock.restore_strip(&plan.cells[index], &path, options.interrupted)?;
        }
    }
    Ok(share)
}
