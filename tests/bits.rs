//! Bits per dimension and learned variances as a user meets them.

#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::{fs, path::PathBuf};

use ddim::{
    core::{
        At, Denoiser, Divergent, FromV, Grid, KeyedNoise, Level, Prediction, Result, Schedule,
        State, Step, Tau, Trace,
    },
    data::npy,
    exact::{Component, ExactModel, Gaussian, Mixture, draws},
    likelihood::{Flow, Probe, VariationalBound, bits_of_density, log_density, log_mass, probe},
    networks::{network::Network, network::Wanted},
    solvers::{DormandPrince, Heun, Variance},
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
            [
                "image",
                "bits_per_dim",
                "prior_bits_per_dim",
                "steps_bits_per_dim",
                "decoder_bits_per_dim",
                "gap_bits_per_dim"
            ]
            .as_slice()
        );
        let rows = reader.deserialize::<(usize, f64, f64, f64, f64, f64)>().enumerate();
        rows.map(|(index, row)| {
            let (image, total, prior, steps, decoder, gap) = row.unwrap();
            assert_eq!(image, index);
            assert!((prior + steps + decoder - total).abs() < 1e-12 * total);
            assert!(gap.is_finite());
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
    assert_eq!(lines.len(), 6, "{printed}");
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
    // An eta of 0 draws no noise: that is the ODE, which has a likelihood and no parts.
    assert!(refuses(&["--eta", "0", "--variance", "learned"]).contains("cannot be used with"));
    for (flags, why) in [
        (&["--solver", "edm"][..], "edm adds noise and cannot run from clean to noisy"),
        (&["--solver", "ddim", "--eta", "1"], "with this noise has no bound: only `ddpm` has one"),
        (&["--ode", "--clip-x0"], "a clipped x0 bends the flow"),
        (&["--ode", "--trace", "half"], "--trace half: known here: exact, rademacher, gaussian"),
        (&["--ode", "--probes", "2"], "--probes has no effect on an exact trace"),
        (&["--trace", "exact"], "this method has a variational bound"),
    ] {
        let said = refuses(flags);
        assert!(said.contains(why), "{flags:?}: {said}");
    }
    assert!(
        refuses(&["--end", "first-level"])
            .contains("the last step must go to the image itself: end = \"clean\"")
    );
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

/// Three clusters of one width each, in 16 dimensions.
fn mixture() -> Mixture {
    let component = |mean, std, weight| Component { weight, mean: vec![mean], std };
    Mixture::new(vec![
        component(-0.6, 0.3, 1.0),
        component(0.1, 0.15, 2.0),
        component(0.7, 0.2, 1.0),
    ])
    .unwrap()
}

fn drawn(model: &dyn ExactModel, n: usize) -> ArrayD<f64> {
    draws(model, 1, [n, 16], 0).into_shape_with_order(vec![n, 1, 4, 4]).unwrap()
}

/// The ODE's density of some draws in bits per dimension, and the model's own.
fn flow_and_truth(
    model: &dyn ExactModel,
    x: &ArrayD<f64>,
    probes: &[ArrayD<f64>],
) -> (Vec<f64>, Vec<f64>) {
    // So noisy at its end that nothing is left of the data: 4e-6 of its amplitude.
    let schedule = Schedule::linear(1e-4, 0.05, 1000).unwrap();
    let grid = Grid::new(&schedule, &Tau::LINSPACE, 2, ddim::core::End::Clean).unwrap();
    let solver = DormandPrince::new(1e-9, 1e-9, schedule).unwrap();
    let flow = Flow::new(&model, &solver, &grid).unwrap();
    let trace = Trace { probes, dimensions: 16 };
    let found = flow.log_density(x.clone(), trace, &mut |_| Ok(())).unwrap();
    assert!(found.calls > 50);
    let bits = |log: f64| bits_of_density(log, 16);
    let truth = x.outer_iter().map(|x| {
        let x: Vec<f64> = x.iter().copied().collect();
        bits(log_density(&model.components(), &x))
    });
    (found.log_density.into_iter().map(bits).collect(), truth.collect())
}

#[test]
fn the_likelihood_of_the_ode_is_the_density_of_the_data() {
    let (gaussian, mixture) = (Gaussian { mean: 0.2, std: 0.5 }, mixture());
    for model in [&gaussian as &dyn ExactModel, &mixture] {
        let (found, truth) = flow_and_truth(model, &drawn(model, 32), &[]);
        for (found, truth) in found.iter().zip(&truth) {
            assert!((found - truth).abs() < 1e-5, "{found} and not {truth}");
        }
    }
}

#[test]
fn hutchinsons_estimate_is_the_density_within_its_standard_error() {
    let model = mixture();
    let n = 256;
    let x = drawn(&model, n);
    let (exact, _) = flow_and_truth(&model, &x, &[]);
    let noise = KeyedNoise { seed: 5, first: 0 };
    let spread = |kind, probes: u8| {
        let z: Vec<_> = (0..probes).map(|k| probe(&x, kind, noise, k)).collect();
        let (found, truth) = flow_and_truth(&model, &x, &z);
        let off: Vec<f64> = found.iter().zip(&truth).map(|(a, b)| a - b).collect();
        let mean = off.iter().sum::<f64>() / n as f64;
        let variance = off.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
        let z = mean / (variance / n as f64).sqrt();
        assert!(z.abs() < 4.0, "{kind:?}, {probes} probes: z = {z}");
        assert!(found.iter().zip(&exact).any(|(a, b)| (a - b).abs() > 1e-3), "{kind:?} is exact");
        variance
    };
    let one = spread(Probe::Rademacher, 1);
    // Four probes have a quarter of the variance; the ratio of two variances of 256 spreads by a tenth.
    let four = spread(Probe::Rademacher, 4);
    assert!((0.15..0.4).contains(&(four / one)), "{four} of {one}");
    // What is on the diagonal adds to a Gaussian probe's spread alone.
    assert!(spread(Probe::Gaussian, 1) > 1.5 * one);
}

#[test]
fn a_method_integrates_the_density_at_its_own_order() {
    let model = Gaussian { mean: 0.2, std: 0.5 };
    let x = drawn(&model, 8);
    // Between two positive levels: the clean end has an order of its own.
    let error = |steps: usize| {
        let schedule = support::linear();
        let window: [f64; 2] = [5.0, 0.05];
        let taus: Vec<f64> = (0..=steps)
            .map(|i| window[0] * (window[1] / window[0]).powf(i as f64 / steps as f64))
            .map(|sigma| schedule.level_at_sigma(sigma).unwrap().t)
            .collect();
        let count = taus.len();
        let grid =
            Grid::new(&schedule, &Tau::Explicit(taus), count, ddim::core::End::FirstLevel).unwrap();
        let flow = Flow::new(&model, &Heun, &grid).unwrap();
        let trace = Trace { probes: &[], dimensions: 16 };
        let found = flow.log_density(x.clone(), trace, &mut |_| Ok(())).unwrap();
        let (from, to) = (grid.last(), grid.first());
        let carried = model.flow_map(&x, from, to);
        let expected: Vec<f64> = carried
            .outer_iter()
            .map(|x| {
                let square: f64 = x.iter().map(|x| x * x).sum();
                let stretch = (model.variance(to) / model.variance(from)).sqrt().ln();
                -0.5 * square - 8.0 * std::f64::consts::TAU.ln() + 16.0 * stretch
            })
            .collect();
        let off = found.log_density.iter().zip(expected).map(|(a, b)| (a - b).powi(2));
        off.sum::<f64>().sqrt()
    };
    let order = (error(32) / error(64)).log2();
    assert!((1.8..2.2).contains(&order), "{order}");
}

#[test]
fn a_trace_is_the_sum_of_the_slopes() {
    let at: At = Level { t: 300.0, alpha_bar: 0.4 }.into();
    let x = drawn(&mixture(), 2);
    let models: [&dyn Divergent<State = ArrayD<f64>>; 3] =
        [&mixture(), &Gaussian { mean: 0.2, std: 0.5 }, &FromV(mixture())];
    for (which, model) in models.into_iter().enumerate() {
        let none = Trace { probes: &[], dimensions: 16 };
        let (eps, traces) = model.predict_with_trace(&x, at, &none).unwrap();
        assert_eq!(eps, model.predict(&x, at).unwrap());
        let z = probe(&x, Probe::Gaussian, KeyedNoise { seed: 0, first: 0 }, 0);
        let along = Trace { probes: std::slice::from_ref(&z), dimensions: 16 };
        let (_, alongs) = model.predict_with_trace(&x, at, &along).unwrap();
        let slope = |direction: &ArrayD<f64>| {
            let at_h = |h: f64| {
                let moved = ArrayD::lincomb(&[(1.0, &x), (h, direction)]).unwrap();
                model.predict(&moved, at).unwrap()
            };
            (at_h(1e-5) - at_h(-1e-5)).mapv(|d| d / 2e-5) * direction
        };
        let sum =
            |values: &ArrayD<f64>, sample: usize| values.index_axis(ndarray::Axis(0), sample).sum();
        for (sample, trace) in traces.iter().enumerate() {
            let each = (0..16).map(|k| {
                let unit = ArrayD::from_shape_fn(x.raw_dim(), |at| {
                    f64::from(u8::from(4 * at[2] + at[3] == k))
                });
                sum(&slope(&unit), sample)
            });
            approx::assert_relative_eq!(each.sum::<f64>(), *trace, max_relative = 1e-6);
        }
        // Of v, the identity's part is exact whatever the probe.
        if which < 2 {
            for (sample, along) in alongs.iter().enumerate() {
                approx::assert_relative_eq!(sum(&slope(&z), sample), along, max_relative = 1e-6);
            }
        }
    }
}

#[test]
fn a_networks_trace_is_the_slope_of_what_it_predicts() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models/fashion-mnist");
    let network = Network::open(&folder, &Wanted::default()).unwrap();
    let values = fill::normal("bits/network", 2 * 784);
    let x = tch::Tensor::from_slice(&values).reshape([2, 1, 28, 28]).to_kind(tch::Kind::Float);
    let signs: Vec<f32> = values.iter().map(|z| if *z > 0.1 { 1.0 } else { -1.0 }).collect();
    let z = tch::Tensor::from_slice(&signs).reshape([2, 1, 28, 28]);
    let at: At = support::linear().level(400.0).unwrap().into();
    let probes = [z.shallow_clone(), x.shallow_clone()];
    let both = Trace { probes: &probes, dimensions: 784 };
    let (eps, traces) = network.predict_with_trace(&x, at, &both).unwrap();
    let plain = network.predict(&x, at).unwrap();
    assert!((&eps - &plain).abs().max().double_value(&[]) < 2e-5);
    assert!(!eps.requires_grad());
    let mut expected = [0.0; 2];
    for z in &probes {
        let h = 3e-3;
        let at_h = |h: f64| network.predict(&(&x + h * z), at).unwrap().to_kind(tch::Kind::Double);
        let slope = (at_h(h) - at_h(-h)) / (2.0 * h) * z.to_kind(tch::Kind::Double);
        let sums = Vec::<f64>::try_from(slope.reshape([2, -1]).sum_dim_intlist(1, false, None));
        expected.iter_mut().zip(sums.unwrap()).for_each(|(sum, x)| *sum += x / 2.0);
    }
    for (found, expected) in traces.iter().zip(expected) {
        // A difference of f32 outputs over a step that bends a little.
        assert!((found - expected).abs() < 2e-3 * expected.abs(), "{found} {expected}");
    }
    let exact = Trace { probes: &[], dimensions: 784 };
    let error = network.predict_with_trace(&x, at, &exact).unwrap_err().to_string();
    assert!(error.contains("only exact-score models have one"), "{error}");
}

#[test]
fn the_mass_of_bytes_is_that_of_their_distribution() {
    let components = mixture().components();
    let level = |byte: u8| f64::from(byte) / 127.5 - 1.0;
    // Two values: all pairs of bytes together have the mass 1.
    let total: f64 = (0..=u8::MAX)
        .flat_map(|a| (0..=u8::MAX).map(move |b| (a, b)))
        .map(|(a, b)| log_mass(&components, &[level(a), level(b)]).exp())
        .sum();
    assert!((total - 1.0).abs() < 1e-9, "{total}");
    // In the middle of a bin the mass is the density times its width.
    let x = [0.1, 0.12];
    let density = log_density(&components, &x) + 2.0 * (2.0 / 255.0_f64).ln();
    approx::assert_relative_eq!(log_mass(&components, &x), density, max_relative = 1e-3);
}

#[test]
fn the_ode_is_asked_for_by_a_flag_or_a_solver_and_prints_its_bits() {
    let ddim = with_images();
    let base = [&["bits", "x.npy", "--quiet"], &EXACT[..]].concat();
    let said = |more: &[&str]| ddim.succeeds(&[&base[..], more].concat());
    let ode = said(&["--ode"]);
    let long = said(&["--solver", "dormand-prince", "--tau", "linspace", "--steps", "2"]);
    assert_eq!(ode, long);
    assert_eq!(ode.lines().count(), 3, "{ode}");
    let number = |text: &str, name: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().next().unwrap().parse().unwrap()
    };
    // The model is the data's own distribution, up to the rounding to bytes.
    assert!(number(&ode, "beyond the truth").abs() < 5e-3, "{ode}");
    let probed = said(&["--ode", "--trace", "gaussian", "--probes", "64"]);
    assert!(
        (number(&probed, "bits per dimension") - number(&ode, "bits per dimension")).abs() < 0.3
    );
    assert_ne!(probed, ode);
    // A finer bound comes down towards it and stays above.
    let bound = said(&["--tau", "linspace", "--steps", "1000"]);
    assert!(number(&bound, "bits per dimension") > number(&ode, "bits per dimension"));
}

const BITS: &str = r#"
name = "bits"
samples = 8
batch = 4
task = "bits"
images = { source = "draws" }
grid = { tau = "linspace", steps = 20 }
metrics = { measures = ["bits", "bits-gap"], blocks = 2 }
[model]
source = "mixture"
shape = [1, 4, 4]
mean = [-0.6, 0.1, 0.7]
std = [0.3, 0.15, 0.2]
[solver]
kind = "ddpm"
"#;

#[test]
fn a_plan_counts_the_backward_passes_of_a_networks_trace() {
    let ddim = Ddim::new();
    let source = support::program::repository("models/cifar10-small");
    let text =
        BITS.replace("images = { source = \"draws\" }\n", "images = { source = \"x.npy\" }\n");
    let text = text.split("[model]").next().unwrap().replace("\"bits\", \"bits-gap\"", "\"bits\"");
    let text = format!(
        "{text}[model]\nsource = {source:?}\n[solver]\nkind = \"heun\"\n[likelihood]\ntrace = \"rademacher\"\n\
         [sweep]\n\"likelihood.probes\" = [1, 3]\n"
    );
    fs::write(ddim.path("b.toml"), text.replace("linspace", "leading")).unwrap();
    let images = ndarray::Array4::<u8>::from_elem((8, 3, 32, 32), 9);
    ndarray_npy::write_npy(ddim.path("x.npy"), &images).unwrap();
    let plan: serde_json::Value =
        serde_json::from_str(&ddim.succeeds(&["plan", "b.toml", "--json"])).unwrap();
    let number = |cell: usize, what: &str| plan["cells"][cell][what].as_u64().unwrap();
    let calls = number(0, "calls");
    assert!(calls > 20 && number(1, "calls") == calls);
    assert_eq!([number(0, "backward_passes"), number(1, "backward_passes")], [calls, 3 * calls]);
    let said = ddim.succeeds(&["plan", "b.toml"]);
    assert!(said.contains(&format!("{calls} calls with a backward pass each x 8")), "{said}");
    assert!(said.contains(&format!("{calls} calls with 3 backward passes each x 8")), "{said}");
    // The Jacobian of an exact score has a formula.
    let exact = BITS.replace("\"ddpm\"", "\"heun\"");
    fs::write(ddim.path("e.toml"), exact + "[likelihood]\ntrace = \"gaussian\"\n").unwrap();
    assert!(!ddim.succeeds(&["plan", "e.toml"]).contains("backward"));
}

#[test]
fn bits_are_a_task_of_a_manifest() {
    let ddim = Ddim::new();
    let sweep = "[sweep]\nmethod = [{ label = \"bound\" }, \
                 { label = \"ode\", \"solver.kind\" = \"heun\" }]\n";
    fs::write(ddim.path("bits.toml"), format!("{BITS}{sweep}")).unwrap();
    ddim.succeeds(&["run", "bits.toml", "--quiet"]);
    let text = fs::read_to_string(ddim.path("results/bits/metrics.csv")).unwrap();
    let mut rows = csv::Reader::from_reader(text.as_bytes());
    let header = rows.headers().unwrap().clone();
    let column = |name: &str| header.iter().position(|column| column == name).unwrap();
    let records: Vec<csv::StringRecord> = rows.records().map(|row| row.unwrap()).collect();
    let number = |row: usize, name: &str| -> f64 { records[row][column(name)].parse().unwrap() };
    assert_eq!(&records[0][column("calls")], "20");
    // Heun's two calls a step, and one at the clean end.
    assert!((number(1, "calls") - 39.0).abs() < 2.0);
    assert!(number(0, "bits-gap") > number(1, "bits-gap").abs());
    assert!(!ddim.path("results/bits/samples").exists());
    let refused = |set: &[&str]| {
        let sets = set.iter().flat_map(|set| ["--set", set]);
        ddim.refuses(&["check", "bits.toml"].into_iter().chain(sets).collect::<Vec<_>>())
    };
    fs::write(ddim.path("bits.toml"), BITS).unwrap();
    for (sets, why) in [
        (&["likelihood.trace=exact"][..], "has no effect on a variational bound"),
        (
            &["solver.kind=heun", "metrics.measures=[\"bits-steps\"]"],
            "is a part of a variational bound",
        ),
        (&["solver.kind=heun", "likelihood.probes=2"], "has no effect on an exact trace"),
        (
            &["solver.kind=heun", "likelihood.trace=gaussian", "likelihood.probes=0"],
            "from 1 to 255",
        ),
        (&["solver.kind=edm"], "edm adds noise and cannot run from clean to noisy"),
        (&["grid.end=first-level"], "the last step must go to the image itself"),
        (&["images.source=solution"], "the reference solution has no bytes to code"),
        (&["task=sample"], "`images` does not apply to this task"),
    ] {
        let said = refused(sets);
        assert!(said.contains(why), "{sets:?}: {said}");
    }
}
