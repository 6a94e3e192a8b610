//! `ddim speed` as a user and a script meet it. No time is asserted, only what is made of times.

#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use serde_json::Value;
use support::program::{Ddim, command, repository};

const QUICK: [&str; 4] = ["--rounds", "3", "--seconds", "0.01"];

fn small() -> String {
    repository("models/cifar10-small")
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn close(found: f64, expected: f64) {
    assert!((found / expected - 1.0).abs() < 1e-6, "{found} is not {expected}");
}

/// The median, which lies between the ends.
fn median(spread: &Value) -> f64 {
    let [low, median, high] = ["lowest", "median", "highest"].map(|name| number(&spread[name]));
    assert!(0.0 < low && low <= median && median <= high, "{spread}");
    median
}

#[test]
fn every_number_of_a_report_follows_from_its_times() {
    let ddim = Ddim::new();
    let model = small();
    let features = repository("models/cifar10-features");
    let wanted = ["speed", "--model", &model, "--batch", "2,3", "--steps", "5", "--json"];
    let json = ddim.succeeds(&[&wanted[..], &QUICK, &["--features", &features]].concat());
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!([&report["device"], &report["precision"]], ["cpu", "f32"]);
    assert_eq!((&report["rounds"], &report["tf32"]), (&3.into(), &false.into()));
    let flops = &report["flops"];
    assert_eq!(flops["configured"], 565_772_288);
    assert!(number(&report["load_seconds"]) > 0.0);
    assert!(cfg!(not(target_os = "linux")) || number(&report["memory_mib"]) > 50.0);
    let batches = report["batches"].as_array().unwrap();
    assert_eq!(batches.iter().map(|at| &at["batch"]).collect::<Vec<_>>(), [2, 3]);
    for at in batches {
        let (batch, seconds) = (number(&at["batch"]), median(&at["milliseconds"]) / 1e3);
        close(median(&at["image_calls_per_second"]), batch / seconds);
        close(median(&at["gflops"]), batch * number(&flops["computed"]) / seconds / 1e9);
        let matrix = &at["matrix"];
        let fastest = median(&matrix["fastest"]);
        assert!(fastest >= median(&matrix["product"]).max(median(&matrix["convolution"])));
        // Ratios of the same rounds, so not quite that of the medians.
        let ends = |name: &str| [number(&at["gflops"][name]), number(&matrix["fastest"][name])];
        let ([low, slow], [high, fast]) = (ends("lowest"), ends("highest"));
        let share = median(&at["share"]);
        assert!(low / fast <= share && share <= high / slow, "{at}");
        let around = &at["harness"];
        let rest = ["initial", "to_host", "png", "features"].map(|part| number(&around[part]));
        let rest: f64 = rest.iter().sum();
        let model = 5.0 * seconds;
        close(number(&around["share"]), (rest + number(&around["arithmetic"])) / model);
        close(number(&around["share_eta_1"]), (rest + number(&around["arithmetic_eta_1"])) / model);
        assert_eq!(around["steps"], 5);
    }
}

#[test]
fn a_report_is_a_table_unless_json_is_asked_for() {
    let ddim = Ddim::new();
    let model = small();
    let wanted = ["speed", "--model", &model, "--batch", "2", "--precision", "bf16"];
    let (table, _) = ddim.says(&[&wanted[..], &QUICK, &["--threads", "1"]].concat());
    let lines: Vec<&str> = table.lines().collect();
    let title = " in bf16 on cpu, 1 thread; median [lowest, highest] of 3 rounds";
    assert!(lines[0].ends_with(title), "{table}");
    assert_eq!(
        lines[1],
        "an image takes 0.520 GFLOP here, and 0.566 as the configuration describes it"
    );
    for row in ["image-calls a second", "share of the faster, %", "x_T drawn and moved"] {
        assert_eq!(table.matches(row).count(), 1, "{table}");
    }
    assert!(!table.contains("features"), "{table}");
}

#[test]
fn a_script_sets_the_pace_by_lines() {
    let model = small();
    let mut paced: Command = command();
    paced.args(["speed", "--model", &model, "--batch", "2", "--paced", "--seconds", "0.01"]);
    let mut child = paced.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"\nany\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((lines[0], lines.len()), ("ready", 3), "{said}");
    assert!(lines[1..].iter().all(|line| line.parse::<f64>().unwrap() > 0.0), "{said}");
}

#[test]
fn one_signal_ends_the_wait_for_a_line() {
    let model = small();
    let mut paced: Command = command();
    paced.args(["speed", "--model", &model, "--batch", "2", "--paced", "--seconds", "0.01"]);
    paced.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = paced.spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut ready).unwrap();
    assert_eq!(ready, "ready\n");
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    // Its stdin stays open, and says nothing.
    let stdin = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.ends_with("error: interrupted; nothing was written\n"), "{said}");
}

#[test]
fn what_a_user_gets_wrong_ends_in_one_message_and_exit_code_2() {
    let ddim = Ddim::new();
    let model = small();
    let speed = |more: &[&str]| ddim.fails(2, &[&["speed", "--model", &model], more].concat());
    insta::assert_snapshot!(speed(&["--precision", "f16"]), @"error: --precision f16: give f32 or bf16");
    insta::assert_snapshot!(speed(&["--seconds", "0"]), @"error: --seconds 0: give a number above 0, up to 600");
    insta::assert_snapshot!(speed(&["--shape", "3,32"]), @"error: --shape 3,32: give C,H,W, for instance 3,32,32, of at most 268,435,456 numbers");
    insta::assert_snapshot!(speed(&["--shape", "3,30,30"]), @"error: [repository]/models/cifar10-small: images of shape [3, 30, 30] do not go through the network, which takes [3, H, W] with H and W multiples of 4");
    insta::assert_snapshot!(speed(&["--device", "tpu"]), @"error: --device tpu: give cpu, cuda, or cuda:N for the GPU N");
    insta::assert_snapshot!(speed(&["--paced", "--batch", "2,3"]), @"error: --paced takes one --batch");
    insta::assert_snapshot!(speed(&["--steps", "2000"]), @"error: grid: S = 2000: this tau needs at least 1 and at most T = 1000 steps");
    insta::assert_snapshot!(ddim.fails(2, &["speed", "--model", "./absent"]), @"error: --model ./absent does not exist (paths are relative to the folder the command runs in)");
    let exact = ddim.fails(2, &["speed", "--model", "gaussian"]);
    assert!(exact.contains("--model gaussian does not exist (looked in"), "{exact}");
    for refused in [&["--batch", "0"][..], &["--rounds", "0"], &["--paced", "--json"]] {
        speed(refused);
    }
}
