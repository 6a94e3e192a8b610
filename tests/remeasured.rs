//! Committed results come out again to the byte, measured anew on this machine.

#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs;

use support::program::{Ddim, repository};

/// Runs a shipped experiment and compares what it measured with what is committed.
fn remeasure(name: &str) {
    let ddim = Ddim::new();
    let manifest = repository(&format!("experiments/{name}.toml"));
    ddim.succeeds(&["run", &manifest, "--quiet", "--out", "again"]);
    for file in ["metrics.csv", "table.md"] {
        let committed = fs::read(repository(&format!("results/{name}/{file}"))).unwrap();
        let found = ddim.read(&format!("again/{file}"));
        assert!(found == committed, "results/{name}/{file} is not what this machine measures");
    }
}

#[test]
fn the_orders_of_the_solvers_are_measured_again_to_the_byte() {
    remeasure("order");
}

#[test]
fn the_errors_on_stiff_data_are_measured_again_to_the_byte() {
    remeasure("stiffness");
}
