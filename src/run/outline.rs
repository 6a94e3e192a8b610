//! The outline of a run: what a folder of results keeps of its plan.

use std::path::Path;

use crate::{
    diagnostic::Diagnostics,
    error::Result,
    manifest::Manifest,
    plan::{Plan, Steps, outline::Outline},
    results::folder::{self, Folder},
    run::{
        assemble::{self, Route},
        registry::Registry,
    },
};

/// The outline of a plan whose routes are known, in the order of its cells.
pub fn outline(plan: &Plan, routes: &[Route]) -> Outline {
    Outline::new(plan, |cell| {
        let route = &routes[cell.index];
        (route.grid.requested(), route.order)
    })
}

/// Reads a folder of results; for one from before `plan.json`, its manifest, in today's terms.
///
/// # Errors
/// As [`Folder::read`].
pub fn read(path: &Path, registry: &Registry) -> Result<Folder> {
    Folder::read(path, &|manifest| older(manifest, registry))
}

/// The plan that a folder was last run with, if it can be read.
pub(crate) fn last(path: &Path, registry: &Registry) -> Option<Outline> {
    folder::last_plan(path, &|manifest| older(manifest, registry))
}

fn older(manifest: &Manifest, registry: &Registry) -> std::result::Result<Outline, Diagnostics> {
    let plan = manifest.plan_of_run(&assemble::vocabulary(registry))?;
    Ok(Outline::new(&plan, |cell| match (Route::new(&cell.spec, registry), cell.spec.grid.steps) {
        (Ok(route), _) => (route.grid.requested(), route.order),
        (Err(_), Steps::Number(steps)) => (steps, None),
        (Err(_), Steps::Calls(_)) => (0, None),
    }))
}
