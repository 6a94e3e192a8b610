//! What a manifest asks for, checked and complete: the cells to run and how to show them.
//!
//! A [`CellSpec`] holds everything that decides a cell's numbers and nothing else, with every
//! default written out: two manifests that mean the same cell give the same JSON, and so the same
//! key. A plan needs no manifest: [`Plan::of`] takes a cell that was made in Rust.

mod cell;
mod grid;
pub mod measures;
mod metrics;
pub mod outline;
pub mod presentation;
pub mod stated;
pub mod tau_file;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use self::{
    cell::{
        ArcSpec, BitsSpec, CellSpec, ExactKind, ExactSpec, ImagesSpec, Inversion, ModelSpec,
        ObjectiveSpec, ReferenceSolution, SolverSpec, Solves, StateKind, TRACES, Task, TraceSpec,
        VARIANCES, WEIGHTS,
    },
    grid::{GridSpec, Rule, ScheduleSpec, Steps},
    measures::Measured,
    metrics::{AlsoSpec, Metric, MetricsSpec},
};
use self::{
    presentation::{ClaimSpec, PaperValues, PlotSpec, TableSpec},
    stated::Stated,
};
use serde::{Deserialize, Serialize};

use crate::diagnostic::{Place, Source};

/// A manifest, read in full.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Name of the experiment and of its results folder.
    pub name: String,
    /// The profile laid over the base, if any.
    pub profile: Option<String>,
    /// The axes of the sweep, in file order.
    pub axes: Vec<Axis>,
    /// The product of the axes; the last axis changes fastest. One cell if there is no sweep.
    pub cells: Vec<Cell>,
    /// `[table]`.
    pub table: Option<TableSpec>,
    /// `[paper]`.
    pub paper: Option<PaperValues>,
    /// `[[claim]]`.
    pub claims: Vec<ClaimSpec>,
    /// `[[plot]]`.
    pub plots: Vec<PlotSpec>,
    /// The manifest that gives this plan without a profile or arguments, for the results folder.
    pub text: String,
    /// Remarks on the manifest as a whole.
    pub(crate) remarks: Vec<String>,
}

impl Plan {
    /// The plan of one cell that was made in Rust.
    pub fn of(name: impl Into<String>, spec: CellSpec) -> Self {
        let cell = Cell {
            index: 0,
            params: vec![],
            spec,
            stated: None,
            remarks: vec![],
            places: Places::nowhere(),
        };
        Self {
            name: name.into(),
            profile: None,
            axes: vec![],
            cells: vec![cell],
            table: None,
            paper: None,
            claims: vec![],
            plots: vec![],
            text: String::new(),
            remarks: vec![],
        }
    }

    /// The remarks on the manifest and on its cells, each once.
    pub fn remarks(&self) -> Vec<&str> {
        let of_cells = self.cells.iter().flat_map(|cell| &cell.remarks);
        once(self.remarks.iter().chain(of_cells).map(String::as_str))
    }

    /// What the folders of its models say, each once.
    pub fn stated(&self) -> Vec<String> {
        once(self.cells.iter().filter_map(|cell| cell.stated.as_ref()).map(Stated::detail))
    }

    /// Where results go unless told otherwise: `results/NAME`, and a folder of its own for each
    /// profile that does not name one.
    pub fn default_folder(&self) -> PathBuf {
        let folder = match &self.profile {
            Some(profile) if !self.name.ends_with(&format!("-{profile}")) => {
                format!("{}-{profile}", self.name)
            }
            _ => self.name.clone(),
        };
        Path::new("results").join(folder)
    }
}

/// The same without what came before.
fn once<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    items.fold(vec![], |mut all, item| {
        if !all.contains(&item) {
            all.push(item);
        }
        all
    })
}

/// One axis of the sweep.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Axis {
    /// A dotted path (`grid.steps`), or the free name of a bundle (`variance`).
    pub name: String,
    /// One label per value: what was written, or the bundle's `label`.
    pub labels: Vec<String>,
}

/// One combination of the axes' values.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Position in the plan.
    pub index: usize,
    /// `(axis, label)` in the order of the axes.
    pub params: Vec<(String, String)>,
    /// What decides the cell's numbers.
    pub spec: CellSpec,
    /// What the model's folder says, where it says something.
    pub stated: Option<Stated>,
    /// What a reader of the numbers should know: where manifest and folder differ, and what was
    /// assumed.
    pub remarks: Vec<String>,
    /// Where its values were written.
    pub places: Places,
}

impl Cell {
    /// Where the value at a dotted path was written: in the base, a profile, the sweep or an
    /// argument. A default has the place of its section, or of the manifest as a whole.
    pub fn locate(&self, path: &str) -> Place {
        (self.places.0)(path)
    }
}

/// Where the values of a cell were written, by their dotted paths.
#[derive(Clone)]
pub struct Places(Arc<dyn Fn(&str) -> Place + Send + Sync>);

impl Places {
    /// The places that a function knows.
    pub fn new(locate: impl Fn(&str) -> Place + Send + Sync + 'static) -> Self {
        Self(Arc::new(locate))
    }

    /// Those of a cell that was made in Rust: nowhere but in the program.
    pub fn nowhere() -> Self {
        let program = Source::file("the program", "");
        Self::new(move |_| Place::whole(&program))
    }
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Places")
    }
}
