//! Bits per dimension and learned variances as a user meets them.

#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::{fs, path::PathBuf};

use ddim::{
    core::{At, Denoiser, Grid, KeyedNoise, Prediction, Result, Step, Tau},
    data::npy,
    exact::Gaussian,
    likelihood::VariationalBound,
    solvers::Variance,
};
use insta::assert_snapshot;
use ndarray::{Array4, ArrayD};
use support::{fill, golden, program::Ddim};

const EXACT: [&str; 8] = ["--model", "gaussian", "--mean", "0", "--std", "0.3", "--shape", "3,8,8"];

/// Bytes of draws from N(0, 0.3^2).
fn bytes() -> Array4<u8> {
    let values = fill::normal("bits/x", 4 * 192);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 255")]
    let values = values.into_iter().map(|z| ((0.3 * z + 1.0) * 127.5).round() as u8).collect();
    Array4::from_shape_vec((4, 8, 8, 3), values).unwrap()
}

/// The same on [-1, 1], channels first.
fn x0() -> ArrayD<f64> {
    let x0 = bytes().mapv(|byte| f64::from(byte) / 127.5 - 1.0);
    x0.permuted_axes([0, 3, 1, 2]).as_standard_layout().into_owned().into_dyn()
}

/// `ddim` in a folder with the images `x.npy`.
fn with_images() -> Ddim {
    let ddim = Ddim::new();
    ndarray_npy::write_npy(ddim.path("x.npy"), &bytes()).unwrap();
    ddim
}

impl Ddim {
    /// The rows of a CSV file: bits, and those of the prior.
    fn rows(&self, name: &str) -> Vec<[f64; 2]> {
        let mut reader = csv::Reader::from_path(self.path(name)).unwrap();
        assert_eq!(
            reader.headers().unwrap(),
            ["image", "bits_per_dim", "prior_bits_per_dim"].as_slice()
        );
        let rows = reader.deserialize::<(usize, f64, f64)>().enumerate();
        rows.map(|(index, row)| {
            let (image, total, prior) = row.unwrap();
            assert_eq!(image, index);
            [total, prior]
        })
        .collect()
    }
}

#[test]
fn bits_are_those_of_the_library_for_any_batch() {
    let ddim = with_images();
    let setting = ["--steps", "50", "--tau", "linspace", "--quiet"];
    for (flags, variance) in [
        (&[][..], Variance::Eta(1.0)),
        (&["--eta", "0.5"], Variance::Eta(0.5)),
        (&["--variance", "sigma-hat", "--batch", "3"], Variance::SigmaHat),
    ] {
        let bits = [&["bits", "x.npy", "--out", "bits.csv"], &EXACT[..], &setting, flags].concat();
        let printed = ddim.succeeds(&bits);
        assert!(printed.starts_with("x.npy, N = 4, 50 calls per image\n"), "{printed}");
        let model = Gaussian { mean: 0.0, std: 0.3 };
        let grid = support::grid(&Tau::LINSPACE, 50);
        let bound = VariationalBound::new(&model, &grid, variance).unwrap();
        let noise = KeyedNoise { seed: 0, first: 0 };
        let expected = bound.bits(&x0(), &noise, &mut |_| Ok(())).unwrap();
        let rows = ddim.rows("bits.csv");
        assert_eq!(rows.len(), 4);
        for (row, (total, prior)) in rows.iter().zip(expected.total.iter().zip(&expected.prior)) {
            // The shortest decimals read back to the same bits.
            assert_eq!(
                row.iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
                [total.to_bits(), prior.to_bits()]
            );
        }
        let mean = expected.total.iter().sum::<f64>() / 4.0;
        assert!(printed.contains(&format!("bits per dimension      {mean:.4} +- ")), "{printed}");
        let prior = expected.prior.iter().sum::<f64>() / 4.0;
        assert!(printed.contains(&format!("of x_T alone            {prior:.4} +- ")), "{printed}");
    }
}

#[test]
fn one_image_has_no_standard_error_and_that_is_said() {
    let ddim = with_images();
    let one = ["bits", "x.npy", "--range", "0..1", "--steps", "20", "--quiet"];
    let printed = ddim.succeeds(&[&one[..], &EXACT].concat());
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), 3, "{printed}");
    for line in &lines[1..] {
        assert!(line.ends_with(" (one image: no standard error)"), "{printed}");
    }
}

/// The exact score of N(0, 0.3^2), and the range at which a step has its exact variance.
struct ExactVariance(Grid);

impl Denoiser for ExactVariance {
    type State = ArrayD<f64>;

    fn predict(&self, x: &ArrayD<f64>, at: At) -> Result<ArrayD<f64>> {
        Gaussian { mean: 0.0, std: 0.3 }.predict(x, at)
    }

    fn predict_with_range(&self, x: &ArrayD<f64>, at: At) -> Result<Prediction<ArrayD<f64>>> {
        let steps: Vec<Step> = self.0.steps().collect();
        let index = steps.iter().position(|step| step.from == at.state).unwrap();
        let step = steps[index];
        let least = if step.to.is_clean() { steps[index - 1] } else { step }.posterior_std();
        let (a, a_to) = (step.from.alpha_bar, step.to.alpha_bar);
        // What the posterior leaves open, and what is not known of x0.
        let factor = step.beta() * a_to.sqrt() / (1.0 - a);
        let x0 = 0.09 * (1.0 - a) / (0.09 * a + 1.0 - a);
        let exact = step.posterior_std().powi(2) + factor * factor * x0;
        let part = (exact / (least * least)).ln() / (step.beta() / (least * least)).ln();
        let range = ArrayD::from_elem(x.raw_dim(), 2.0 * part - 1.0);
        Ok(Prediction { range: Some(range), ..self.predict(x, at)?.into() })
    }
}

/// With exact means and variances the bound is the likelihood, at any S; the posterior variance is
/// too small at every step, and few steps make it worse.
#[test]
fn the_exact_variance_brings_the_bound_down_to_the_likelihood() {
    let scale = 0.3 * 127.5;
    // The cross-entropy of these bytes with N(0, 0.3^2).
    let square = x0().mapv(|x| x * x).mean().unwrap() / (0.3 * 0.3);
    let nats = 0.5 * (2.0 * std::f64::consts::PI * scale * scale).ln() + 0.5 * square;
    let likelihood = nats / std::f64::consts::LN_2;
    let gap = |steps, variance| {
        let grid = support::grid(&Tau::LINSPACE, steps);
        let model = ExactVariance(grid.clone());
        let bound = VariationalBound::new(&model, &grid, variance).unwrap();
        let noise = KeyedNoise { seed: 0, first: 0 };
        let bits = bound.bits(&x0(), &noise, &mut |_| Ok(())).unwrap();
        bits.total.iter().sum::<f64>() / 4.0 - likelihood
    };
    for steps in [50, 100, 1000] {
        // One draw of noise for each of 768 elements, and bins as wide as the first level's noise.
        assert!(gap(steps, Variance::Learned).abs() < 0.2, "{}", gap(steps, Variance::Learned));
    }
    assert!(gap(1000, Variance::Eta(1.0)) > 0.5);
    assert!(gap(100, Variance::Eta(1.0)) > 10.0);
}

#[test]
fn a_program_with_a_range_is_sampled_and_bounded_under_learned() {
    let ddim = with_images();
    fs::copy(golden("eps.pt"), ddim.path("eps.pt")).unwrap();
    fs::copy(golden("eps_range.pt"), ddim.path("both.pt")).unwrap();
    let setting = ["--shape", "3,8,8", "--steps", "10", "--quiet", "--variance", "learned"];
    let sample = |model| {
        let out = ["sample", "--solver", "ddpm", "--out", "a.npy", "--model", model];
        [&out[..], &setting].concat()
    };
    ddim.succeeds(&sample("both.pt"));
    let learned = fs::read(ddim.path("a.npy")).unwrap();
    let mut fixed = sample("both.pt");
    fixed.truncate(fixed.len() - 2);
    ddim.succeeds(&fixed);
    assert_ne!(learned, fs::read(ddim.path("a.npy")).unwrap());
    let bits = |model| [&["bits", "x.npy", "--model", model][..], &setting].concat();
    ddim.succeeds(&bits("both.pt"));
    let expected = "error: a learned variance needs a model that also predicts the range of its \
                    variance, in twice as many output channels, but this one predicts only eps; use \
                    `eta` or `variance = \"sigma-hat\"`";
    // A program does not say before it runs.
    assert_eq!(ddim.refuses(&bits("eps.pt")), expected);
    assert_eq!(ddim.refuses(&sample("eps.pt")), expected);
    let embedded = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models/cifar10-small");
    let mut network = sample(embedded.to_str().unwrap());
    network.retain(|&flag| flag != "--shape" && flag != "3,8,8");
    assert_eq!(ddim.refuses(&network), expected);
}

#[test]
fn what_has_no_bound_is_refused() {
    let ddim = with_images();
    let refuses = |more: &[&str]| {
        ddim.refuses(&[&["bits", "x.npy", "--steps", "10"], &EXACT[..], more].concat())
    };
    assert_snapshot!(refuses(&["--eta", "0"]), @"error: likelihood: a method that draws no noise has no variational bound: take ddpm with an eta above 0, sigma-hat or learned");
    assert_snapshot!(refuses(&["--solver", "heun"]), @"error: --solver heun: only ddpm has this bound; leave the flag out");
    assert_snapshot!(refuses(&["--end", "first-level"]), @r#"error: likelihood: the last step must go to the image itself: end = "clean""#);
    assert_snapshot!(refuses(&["--out", "bits.txt"]), @"error: --out bits.txt: bits are written as .csv; give a name that ends in it");
    assert_snapshot!(refuses(&["--variance", "learned"]), @r#"
    error: a learned variance needs a model that also predicts the range of its variance, in twice as many output channels, but this one predicts only eps
     --> command line:1:12
      |
    1 | --variance learned
      |            ^^^^^^^
      |
      = help: use `eta` or `variance = "sigma-hat"`
    "#);
    let ddim_flags = ["--solver", "ddim", "--variance", "learned"];
    let network = ["sample", "--model", "x.npy", "--out", "a.npy"];
    let said = ddim.refuses(&[&network[..], &ddim_flags].concat());
    assert!(said.contains("ddim cannot use a learned variance"), "{said}");
    let floats =
        Array4::from_shape_fn((1, 3, 8, 8), |(_, _, _, x)| if x < 4 { -1.0 } else { 0.123 });
    npy::write_images(&ddim.path("f.npy"), floats.view()).unwrap();
    let refused =
        ddim.refuses(&[&["bits", "f.npy", "--quiet", "--steps", "10"], &EXACT[..]].concat());
    assert_snapshot!(refused, @"error: f.npy holds 0.123, which is no byte's value (the nearest are 0.1216 and 0.1294); the bound needs byte images: PNG, JPEG, or an array of bytes");
}
