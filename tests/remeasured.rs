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

#[test]
fn the_timesteps_of_the_mixture_are_chosen_again_to_the_byte() {
    let ddim = Ddim::new();
    let model = ["--model", "mixture", "--shape", "1,4,4", "--mean=-0.6,0.1,0.7"];
    let more = ["--std", "0.3,0.15,0.2", "--set", "model.weights=[1,2,1]", "--quiet"];
    let size = ["--samples", "256", "--batch", "256", "--steps", "128"];
    for objective in ["local", "scaled", "carried"] {
        let how = ["--objective", objective, "--out", "tau.toml"];
        ddim.succeeds(&[&["tau", "5,7,10,14,20"], &model[..], &more, &size, &how].concat());
        let name = format!("experiments/taus/mixture-{objective}.toml");
        let committed = fs::read_to_string(repository(&name)).unwrap();
        assert_eq!(String::from_utf8(ddim.read("tau.toml")).unwrap(), committed, "{name}");
    }
}
