//! Schedules and grids against numbers from outside.
//!
//! Origins: ermongroup/ddim (`schedules.json`), openai/improved-diffusion (`improved.json`) and
//! diffusers 0.42.1 (`diffusers_spacings.json`).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use approx::assert_relative_eq;
use ddim::core::{CLEAN, End, Grid, Level, Schedule, Tau};
use proptest::prelude::*;
use support::{golden_json, linear};

fn hold(schedule: &Schedule, values: &serde_json::Value, tolerance: f64) {
    for (t, value) in values.as_object().unwrap() {
        let level = schedule.level(t.parse().unwrap()).unwrap();
        assert_relative_eq!(level.alpha_bar, value.as_f64().unwrap(), max_relative = tolerance);
    }
}

#[test]
fn alpha_bar_of_every_schedule_agrees_with_its_origin() {
    let official = golden_json("schedules.json");
    hold(&linear(), &official["alpha_bar_f64"], 1e-13);
    let rounded = Schedule::linear_f32(1e-4, 0.02, 1000).unwrap();
    // The peer's own product is stored in f32; ours is not.
    hold(&rounded, &official["alpha_bar_f32_cumprod"], 1.3e-7);

    let improved = golden_json("improved.json");
    hold(&linear(), &improved["alpha_bar/linear/T1000"], 1e-13);
    let quarter = Schedule::linear(2.5e-5, 0.005, 4000).unwrap();
    hold(&quarter, &improved["alpha_bar/linear/T4000"], 1e-12);
    for horizon in [1000, 4000] {
        let cosine = Schedule::cosine(horizon).unwrap();
        hold(&cosine, &improved[format!("alpha_bar/cosine/T{horizon}")], 1e-9);
    }

    let latent = Schedule::scaled_linear(0.000_85, 0.012, 1000).unwrap();
    // The peer multiplies a thousand factors in f32.
    hold(&latent, &golden_json("diffusers_spacings.json")["scaled_linear"], 5e-6);
}

#[test]
fn rounding_betas_to_f32_moves_alpha_bar_where_the_official_code_has_it() {
    let rounded = Schedule::linear_f32(1e-4, 0.02, 1000).unwrap().level(999.0).unwrap();
    // numpy: prod of (float32(1) - float32(beta)) taken in float64.
    assert_relative_eq!(rounded.alpha_bar, 4.035_829_968_767_810_5e-5, max_relative = 1e-13);
    let exact = linear().level(999.0).unwrap();
    assert!((rounded.alpha_bar / exact.alpha_bar - 1.0).abs() > 4e-8);
}

/// The noisy labels of a grid from clean to noisy.
fn labels(grid: &Grid) -> Vec<f64> {
    let noisy = grid.levels().iter().filter(|level| !level.is_clean());
    noisy.rev().map(|level| level.t).collect()
}

fn new(tau: &Tau, steps: usize) -> Grid {
    Grid::new(&linear(), tau, steps, End::Clean).unwrap()
}

#[test]
fn official_spacings_have_the_official_levels_and_noise_positions() {
    let official = golden_json("schedules.json");
    for (case, sequence) in official["tau_official"].as_object().unwrap() {
        let (family, steps) = case.split_once('-').unwrap();
        let tau = if family == "quad" { Tau::OFFICIAL_QUAD } else { Tau::OFFICIAL_UNIFORM };
        let grid = new(&tau, steps.parse().unwrap());
        let sequence: Vec<f64> = serde_json::from_value(sequence.clone()).unwrap();
        let mut distinct = sequence.clone();
        distinct.dedup();
        assert_eq!(labels(&grid), distinct, "{case}");
        assert_eq!(grid.dropped(), sequence.len() - distinct.len(), "{case}");
        // A step's noise is that of the last entry, counted from the top, with its label.
        let descending: Vec<f64> = sequence.into_iter().rev().collect();
        for step in grid.steps() {
            let last = descending.iter().rposition(|t| t.to_bits() == step.from.t.to_bits());
            assert_eq!(last, Some(step.draw as usize), "{case}");
        }
        assert_eq!(grid.last(), CLEAN);
    }
}

#[test]
fn diffusers_spacings_have_diffusers_levels() {
    let peer = golden_json("diffusers_spacings.json");
    for (case, timesteps) in peer["timesteps"].as_object().unwrap() {
        let (family, steps) = case.split_once('-').unwrap();
        let tau = match family {
            "leading" => Tau::LEADING,
            "trailing" => Tau::TRAILING,
            _ => Tau::LINSPACE,
        };
        let mut timesteps: Vec<f64> = serde_json::from_value(timesteps.clone()).unwrap();
        timesteps.reverse();
        assert_eq!(labels(&new(&tau, steps.parse().unwrap())), timesteps, "{case}");
    }
    for (steps, sigmas) in peer["karras_sigmas"].as_object().unwrap() {
        let grid = new(&Tau::karras(7.0), steps.parse().unwrap());
        // The peer takes 1 - alpha_bar in f32, where at label 0 it keeps three digits.
        for (level, sigma) in grid.levels().iter().zip(sigmas.as_array().unwrap()) {
            assert_relative_eq!(level.sigma(), sigma.as_f64().unwrap(), max_relative = 1.5e-4);
        }
    }
    let cases = golden_json("samplers_diffusers.json");
    for (case, tau) in [
        ("dpmsolver++2m-linspace", Tau::LINSPACE_OPEN),
        ("heun-linspace", Tau::LINSPACE_REAL),
        ("heun-karras", Tau::karras(7.0)),
    ] {
        for steps in [10, 20, 50] {
            let expected = &cases["cases"][format!("{case}/S{steps}")]["timesteps"];
            let mut expected: Vec<f64> = serde_json::from_value(expected.clone()).unwrap();
            expected.dedup();
            expected.reverse();
            let ours = labels(&new(&tau, steps));
            assert_eq!(ours.len(), expected.len(), "{case}/S{steps}");
            for (ours, peer) in ours.iter().zip(&expected) {
                // The peer computes its fractional labels in f32.
                assert!((ours - peer).abs() < 2e-2, "{case}/S{steps}: {ours} and {peer}");
            }
        }
    }
}

#[test]
fn the_papers_own_formulas_are_one_based_and_end_at_t() {
    let linear = new(&Tau::PAPER_LINEAR, 10);
    assert_eq!(
        labels(&linear),
        [99.0, 199.0, 299.0, 399.0, 499.0, 599.0, 699.0, 799.0, 899.0, 999.0]
    );
    // floor(10 i^2) - 1
    let quadratic = new(&Tau::PAPER_QUADRATIC, 10);
    assert_eq!(
        labels(&quadratic),
        [9.0, 39.0, 89.0, 159.0, 249.0, 359.0, 489.0, 639.0, 809.0, 999.0]
    );
    // floor(i^2 / 1000) is 0 for i < 32 and repeats up to i = 500.
    let full = new(&Tau::PAPER_QUADRATIC, 1000);
    assert_eq!(full.distinct() + full.dropped(), 1000);
    assert_eq!(full.first().t.to_bits(), 999.0_f64.to_bits());
    assert_eq!(full.last(), CLEAN);
}

#[test]
fn a_grid_that_ends_at_the_first_level_loses_the_step_to_the_clean_end() {
    let schedule = linear();
    let first_level = schedule.level(0.0).unwrap();
    let grid = Grid::new(&schedule, &Tau::LEADING, 10, End::FirstLevel).unwrap();
    assert_eq!((grid.steps().count(), grid.last()), (9, first_level));
    let trailing = Grid::new(&schedule, &Tau::TRAILING, 10, End::FirstLevel).unwrap();
    assert_eq!((trailing.steps().count(), trailing.last()), (10, first_level));
}

#[test]
fn an_explicit_tau_is_taken_in_either_order_and_refused_when_not_monotone() {
    let up = new(&Tau::Explicit(vec![0.0, 10.5, 999.0]), 3);
    let down = new(&Tau::Explicit(vec![999.0, 10.5, 0.0]), 3);
    assert_eq!(up, down);
    for labels in [vec![1.0, 1.0, 2.0], vec![5.0, 1.0, 2.0], vec![0.0, f64::NAN, 2.0]] {
        assert!(Grid::new(&linear(), &Tau::Explicit(labels), 3, End::Clean).is_err());
    }
    assert!(Grid::new(&linear(), &Tau::Explicit(vec![-1.0, 4.0]), 2, End::Clean).is_err());
    assert!(Grid::new(&linear(), &Tau::Explicit(vec![4.0, 1000.0]), 2, End::Clean).is_err());
    assert!(Grid::new(&linear(), &Tau::Explicit(vec![4.0]), 2, End::Clean).is_err());
}

#[test]
fn more_steps_than_labels_are_refused() {
    for tau in [Tau::OFFICIAL_UNIFORM, Tau::PAPER_LINEAR, Tau::LEADING, Tau::OFFICIAL_QUAD] {
        assert!(Grid::new(&linear(), &tau, 1001, End::Clean).is_err());
        assert!(Grid::new(&linear(), &tau, 0, End::Clean).is_err());
    }
}

#[test]
fn between_labels_sigma_is_linear_in_t_and_labels_are_linear_in_log_sigma() {
    let schedule = linear();
    let (a, b) = (schedule.level(100.0).unwrap(), schedule.level(101.0).unwrap());
    let between = schedule.level(100.25).unwrap();
    assert_relative_eq!(between.sigma(), 0.75 * a.sigma() + 0.25 * b.sigma(), max_relative = 1e-12);
    let sigma = (0.75 * a.sigma().ln() + 0.25 * b.sigma().ln()).exp();
    let level = schedule.level_at_sigma(sigma).unwrap();
    assert_relative_eq!(level.t, 100.25, max_relative = 1e-9);
    assert_relative_eq!(level.sigma(), sigma, max_relative = 1e-12);
    assert_eq!(schedule.level_at_sigma(0.0).unwrap(), CLEAN);
    assert!(schedule.level(-1.5).is_err());
    assert!(schedule.level(999.5).is_err());
    assert!(schedule.level_at_sigma(-1.0).is_err());
}

proptest! {
    #[test]
    fn every_schedule_decreases_and_every_grid_is_strictly_monotone(
        start in 1e-5_f64..1e-3,
        ratio in 2.0_f64..200.0,
        horizon in 20_usize..600,
        steps in 2_usize..20,
        family in 0_usize..9,
    ) {
        let end = (start * ratio).min(0.5);
        for schedule in [
            Schedule::linear(start, end, horizon).unwrap(),
            Schedule::linear_f32(start, end, horizon).unwrap(),
            Schedule::scaled_linear(start, end, horizon).unwrap(),
            Schedule::cosine(horizon).unwrap(),
        ] {
            let levels: Vec<Level> =
                (0..horizon).map(|t| schedule.level(t as f64).unwrap()).collect();
            prop_assert!(levels.windows(2).all(|pair| pair[1].alpha_bar < pair[0].alpha_bar));
            let tau = [
                Tau::OFFICIAL_UNIFORM, Tau::OFFICIAL_QUAD, Tau::PAPER_LINEAR, Tau::PAPER_QUADRATIC,
                Tau::LEADING, Tau::TRAILING, Tau::LINSPACE, Tau::LINSPACE_OPEN,
                Tau::karras(7.0),
            ][family].clone();
            let grid = Grid::new(&schedule, &tau, steps, End::Clean).unwrap();
            prop_assert!(
                grid.levels().windows(2).all(|pair| pair[1].alpha_bar > pair[0].alpha_bar)
            );
            prop_assert_eq!(grid.last(), CLEAN);
            let back = grid.clone().reversed();
            prop_assert!(back.is_reversed());
            prop_assert_eq!(back.reversed(), grid);
        }
    }
}
