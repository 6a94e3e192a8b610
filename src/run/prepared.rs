//! What cells need before they are computed: models, extractors, images and keys, each read once.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    path::Path,
    sync::atomic::AtomicBool,
};

use crate::networks::reading::Remark;
use crate::{
    error::Result,
    hardware::Hardware,
    measure::{features::Extractors, instruments::Instruments},
    plan::{Cell, CellSpec, MetricsSpec, Plan, outline::Outline},
    report::overview::columns,
    results::{
        partial::{Layout, Partial},
        record::Columns,
        sink::Planned,
    },
    run::{
        assemble::{Models, NUMERICS, Route},
        job::{self, Job, Limits},
        outline,
        runner::{Options, check_with},
        tasks::Pictures,
    },
    terminal::progress::{Mode, Progress},
};

/// A plan with what is read before its first cell.
pub(super) struct Prepared<'a> {
    pub(super) routes: Vec<Route>,
    pub(super) stock: Stock<'a>,
    pub(super) planned: Vec<Planned>,
    pub(super) inputs: BTreeMap<String, String>,
    pub(super) outline: Outline,
    pub(super) columns: Columns,
}

/// What cells share: models, extractors and images, each read once.
pub(super) struct Stock<'a> {
    pub(super) models: Models<'a>,
    pub(super) extractors: Extractors,
    pictures: Pictures,
    limits: Limits,
}

impl<'a> Prepared<'a> {
    /// Checks a plan, and reads what decides its cells' keys.
    ///
    /// # Errors
    /// Problems of the manifest, weights or reference.
    pub(super) fn new(plan: &Plan, options: &Options<'a>) -> Result<Self> {
        let mut pictures = Pictures::default();
        let routes = check_with(plan, options.registry, &mut pictures)?;
        if options.progress != Mode::Quiet {
            pictures.notes().for_each(|note| eprintln!("{note}"));
        }
        let mut models = Models::new(options.hardware.clone(), options.registry);
        let mut extractors = Extractors::new(options.hardware.clone());
        let (planned, inputs) =
            planned(plan, &mut models, &mut extractors, &mut pictures, &options.hardware)?;
        let outline = outline::outline(plan, &routes);
        let columns = Columns {
            axes: plan.axes.iter().map(|axis| axis.name.clone()).collect(),
            metrics: columns(&outline),
        };
        let stock = Stock { models, extractors, pictures, limits: Limits::default() };
        Ok(Self { routes, stock, planned, inputs, outline, columns })
    }

    /// Says how models were read, and with `-v` what was read.
    pub(super) fn say(&mut self, plan: &Plan, options: &Options<'_>) -> Result<()> {
        let Stock { models, extractors, pictures, .. } = &mut self.stock;
        say_remarks(plan, models, options)?;
        if options.verbose > 0 {
            say_read(plan, models, extractors, pictures, &options.hardware)?;
        }
        Ok(())
    }
}

impl Stock<'_> {
    /// Draws what is missing of a cell; returns what diverged, if a sample did.
    pub(super) fn draw(
        &mut self,
        cell: &Cell,
        instruments: &Instruments,
        partial: &mut Partial,
        missing: &[Range<usize>],
        (options, progress): (&Options<'_>, &Progress),
        (key, note): (&str, &dyn Fn(String) -> Result<()>),
    ) -> Result<Option<String>> {
        let job = Job {
            cell,
            key,
            sampler: self.models.sampler(&cell.spec)?,
            limit: self.limits.of(cell),
            instruments,
            extractors: &self.extractors,
            images: self.pictures.of(&cell.spec)?,
            folder: &options.folder,
            threads: options.hardware.threads(),
            progress,
            interrupted: options.interrupted,
            note,
            noted: RefCell::default(),
        };
        job.draw(partial, missing)
    }

    /// Draws the strip of a cell again if its file is gone.
    pub(super) fn restore_strip(
        &mut self,
        cell: &Cell,
        path: &Path,
        stop: &AtomicBool,
    ) -> Result<()> {
        let (limit, images) = (self.limits.of(cell), self.pictures.of(&cell.spec)?);
        job::draw_strip(cell, path, &mut self.models, images.as_deref(), (&limit, stop))
    }
}

/// What decides which rows a cell's files may hold.
pub(super) fn layout<'a>(cell: &Cell, key: &'a str, instruments: &Instruments) -> Layout<'a> {
    let CellSpec { batch, samples, .. } = cell.spec;
    Layout { key, width: instruments.width(), batch, samples }
}

/// The keys of the reference solutions that some cells ask for.
pub(super) fn later_solutions(routes: &[Route], cells: &[usize]) -> BTreeSet<String> {
    let keys = cells.iter().filter_map(|&cell| routes[cell].solution.as_ref());
    keys.map(|(key, _)| key.clone()).collect()
}

/// Prints once for each model how it was read: warnings unless `--quiet`, the rest with `-v`.
fn say_remarks(plan: &Plan, models: &mut Models<'_>, options: &Options<'_>) -> Result<()> {
    let mut said = BTreeSet::new();
    for cell in &plan.cells {
        let source = &cell.spec.model.source;
        for Remark { text, warning } in models.remarks(&cell.spec)? {
            let wanted =
                if warning { options.progress != Mode::Quiet } else { options.verbose > 0 };
            let label = if warning { "warning: " } else { "" };
            let line = format!("{label}{source}: {text}");
            if wanted && said.insert(line.clone()) {
                eprintln!("{line}");
            }
        }
    }
    Ok(())
}

/// Prints the hash of each file once.
fn say_read(
    plan: &Plan,
    models: &mut Models<'_>,
    extractors: &mut Extractors,
    pictures: &mut Pictures,
    hardware: &Hardware,
) -> Result<()> {
    let mut said = BTreeSet::new();
    for cell in &plan.cells {
        let inputs = inputs(cell, models, extractors, pictures, hardware)?;
        let networks = cell.spec.metrics.iter().flat_map(MetricsSpec::networks);
        let files = networks.flat_map(|(at, features, reference)| {
            let reference = reference.map(|reference| (format!("{at}reference"), reference));
            [(format!("{at}features"), features)].into_iter().chain(reference)
        });
        let weights = ("weights".to_owned(), cell.spec.model.source.as_str());
        for (role, source) in [weights].into_iter().chain(files) {
            if let Some(hash) = inputs.get(&role) {
                let line = format!("read {role} {source} {hash}");
                if said.insert(line.clone()) {
                    eprintln!("{line}");
                }
            }
        }
    }
    Ok(())
}

/// The cells with their keys, and the hashes behind all of them, by role.
///
/// # Errors
/// Weights, an extractor or a reference that cannot be read.
pub fn planned(
    plan: &Plan,
    models: &mut Models<'_>,
    extractors: &mut Extractors,
    pictures: &mut Pictures,
    hardware: &Hardware,
) -> Result<(Vec<Planned>, BTreeMap<String, String>)> {
    let mut all_inputs = BTreeMap::new();
    let mut planned = vec![];
    for cell in &plan.cells {
        let inputs = inputs(cell, models, extractors, pictures, hardware)?;
        planned.push(Planned { key: cell.spec.key(&inputs), params: cell.params.clone() });
        all_inputs.extend(inputs);
        let package = models.package_sha256(&cell.spec)?;
        all_inputs.extend(package.map(|hash| ("package".to_owned(), hash)));
    }
    Ok((planned, all_inputs))
}

/// The hashes that belong in a cell's key, by role.
fn inputs(
    cell: &Cell,
    models: &mut Models<'_>,
    extractors: &mut Extractors,
    pictures: &mut Pictures,
    hardware: &Hardware,
) -> Result<BTreeMap<String, String>> {
    let mut inputs = BTreeMap::from([
        ("numerics".to_owned(), NUMERICS.to_owned()),
        ("device".to_owned(), hardware.name()),
    ]);
    if let Some(hash) = models.weights_sha256(&cell.spec)? {
        inputs.insert("weights".to_owned(), hash);
    }
    inputs.extend(extractors.hashes(&cell.spec)?);
    if let Some(images) = pictures.of(&cell.spec)? {
        inputs.insert("images".to_owned(), images.sha256.clone());
    }
    Ok(inputs)
}
