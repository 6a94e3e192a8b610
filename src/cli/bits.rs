//! `ddim bits`.

use std::{collections::BTreeMap, path::PathBuf};

use clap::Args;
use ndarray::{Array4, s};

use crate::cli::{
    Compute, Talk, check_output,
    images::{Images, SplitName},
    latents::Pictures,
    outputs::is,
    setting::{Bench, Setting, samples},
};
use crate::{
    core::KeyedNoise,
    error::{Error, Result},
    likelihood::Probe,
    manifest::Argument,
    metrics::{self, Mean, measure::Measure},
    plan::{BitsSpec, CellSpec, ImagesSpec, TRACES, Task, TraceSpec},
    results::{record::csv_bytes, sink},
    run::{
        assemble::{Coded, Costs},
        registry::Registry,
        runner,
    },
    solvers::Variance,
    terminal::progress::Progress,
};

#[derive(Debug, Args)]
#[command(
    after_help = "Prints the variational bound on the negative log-likelihood of byte images, with its standard error\n\
    over images, and its parts: of x_T, which no model can change, of the steps, and of the bytes. Each\n\
    step is one term and one model call. The solver is ddpm: with an eta above 0, or with variance\n\
    sigma-hat or learned [default: learned if the model's folder says so, else eta 1].\n\n\
    A solver that draws no noise follows the probability-flow ODE from images, spread over their bins,\n\
    to noise, and has a likelihood: the trace of the network's Jacobian is estimated along random\n\
    directions, a backward pass each. --ode is such a solver with adaptive steps.\n\n\
    Examples:\n  \
    ddim bits cifar10 --range 0..64 --model models/cifar10-small --steps 100\n  \
    ddim bits fashion-mnist --range 0..16 --model models/fashion-mnist-learned --ode\n  \
    ddim bits faces/ --resize squash:32 --model models/cifar10-small --variance sigma-hat\n  \
    ddim bits a.png --model models/cifar10-small --tau linspace --steps 1000 --out bits.csv",
    mut_arg("solver", |solver| solver.help(
        "The solver: ddpm has a bound, and those that draw no noise a likelihood [default: ddpm]"
    ))
)]
pub(super) struct Bits {
    /// Image files or folders of them, .npy or .npz arrays, or data sets by name
    #[arg(required = true, value_name = "IMAGES")]
    data: Vec<String>,

    /// Split of the data set, where it has several [default: test]
    #[arg(long, value_enum)]
    split: Option<SplitName>,

    #[command(flatten)]
    images: Images,

    /// A diffusers folder or a file of weights, hf:owner/name[/path][@revision], or gaussian,
    /// mixture, dirac
    #[arg(long, value_name = "PATH|NAME")]
    model: String,

    #[command(flatten)]
    setting: Setting,

    /// The likelihood of the ODE by adaptive steps: --solver dormand-prince, with --tau linspace --steps 2
    /// unless other levels are given
    #[arg(long, conflicts_with = "solver")]
    ode: bool,

    /// How the ODE's divergence is taken: exact, rademacher or gaussian [default: exact for
    /// exact-score models, rademacher for networks]
    #[arg(long, value_name = "KIND")]
    trace: Option<String>,

    /// Random directions for each image [default: 1]
    #[arg(long, value_name = "K")]
    #[arg(value_parser = clap::value_parser!(u8).range(1..))]
    probes: Option<u8>,

    /// File to write, bits.csv: one row for each image
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    #[command(flatten)]
    compute: Compute,

    #[command(flatten)]
    talk: Talk,
}

impl Bits {
    #[allow(clippy::print_stdout, reason = "the bits are this command's data")]
    pub(super) fn run(&self, registry: &Registry) -> Result<()> {
        if let Some(path) = &self.out {
            if !is(path, "csv") {
                let path = path.display();
                return Err(Error::input(format!(
                    "--out {path}: bits are written as .csv; give a name that ends in it"
                )));
            }
            check_output(path)?;
        }
        let pictures = Pictures::load(&self.data, self.split, &self.images, &self.talk)?;
        let n = pictures.len();
        let more = self.more(n);
        let mut plan = self.setting.plan(Some(&self.model), more, None, (registry, &self.talk))?;
        let trace = self.trace(&plan.cells[0].spec)?;
        // The images are the command's own: no cell reads them.
        let own = ImagesSpec {
            source: ImagesSpec::DRAWS.to_owned(),
            split: None,
            exclude: None,
            exact: None,
        };
        plan.cells[0].spec.task = Task::Bits(BitsSpec { images: own, trace });
        let calls = runner::check_encoding(&plan, registry)?[0].calls;
        let bench = Bench::open(plan, &self.compute, registry, &self.talk)?;
        pictures.check_shape(bench.sampler.shape())?;
        let progress = Progress::new(calls * n as u64, self.talk.mode());
        let mut all = Costs { numbers: BTreeMap::new(), calls };
        for (first, rows) in bench.batches(n) {
            let x0 = as_bytes(pictures.rows(first..first + rows)?, &pictures.name())?;
            let parts = bench.in_parts(first..first + rows, &progress, |part, watch| {
                let noise = KeyedNoise { seed: bench.spec().seed, first: part.start as u64 };
                let rows = s![part.start - first..part.end - first, .., .., ..];
                let coded = Coded::Images(x0.slice(rows).to_owned());
                bench.sampler.bits(coded, trace.as_ref(), noise, watch)
            })?;
            for Costs { numbers, calls } in parts {
                all.calls = all.calls.max(calls);
                for (name, values) in numbers {
                    all.numbers.entry(name).or_default().extend(values);
                }
            }
        }
        progress.finish();
        if let Some(path) = &self.out {
            sink::write_atomically(path, &csv(&all.numbers, n))?;
            self.talk.note(|| format!("wrote {}", path.display()));
        }
        println!("{}, N = {n}, {} calls per image", pictures.name(), all.calls);
        for (name, measure, _) in PARTS {
            if let Some(values) = all.numbers.get(measure.name) {
                println!("{}", line(name, values));
            }
        }
        Ok(())
    }

    /// What the flags say beside those of every solver.
    fn more(&self, n: usize) -> Vec<Argument> {
        let mut more = vec![samples(n)];
        if self.ode {
            more.push(Argument::flag("--ode", "solver.kind", "dormand-prince"));
            more.extend(self.setting.levels_or("--ode", "linspace", 2));
        } else {
            more.extend(self.setting.solver_or("ddpm"));
        }
        more
    }

    /// How the ODE's divergence is taken; none for a method that draws noise.
    fn trace(&self, spec: &CellSpec) -> Result<Option<TraceSpec>> {
        let bound = spec.solver.variance.is_some_and(Variance::draws_noise);
        if bound && (self.trace.is_some() || self.probes.is_some()) {
            return Err(Error::input(
                "--trace and --probes are of the ODE's likelihood, and this method has a variational \
                 bound: leave them out, or take --ode",
            ));
        }
        let exact = spec.model.exact.is_some();
        let named = |name: &String| {
            let known = TRACES.iter().find(|(known, _)| known == name);
            known.map(|(_, kind)| *kind).ok_or_else(|| {
                let names = TRACES.map(|(name, _)| name).join(", ");
                Error::input(format!("--trace {name}: known here: {names}"))
            })
        };
        let default = if exact { None } else { Some(Probe::Rademacher) };
        let kind = self.trace.as_ref().map(named).transpose()?.unwrap_or(default);
        if kind.is_none() && !exact {
            return Err(Error::input(
                "--trace exact: a network takes random directions, rademacher or gaussian; only \
                 exact-score models have an exact trace",
            ));
        }
        if kind.is_none() && self.probes.is_some() {
            return Err(Error::input("--probes has no effect on an exact trace: leave it out"));
        }
        let probes = self.probes.unwrap_or(1);
        Ok((!bound).then_some(TraceSpec { kind, probes }))
    }
}

/// What is printed and written: its name in print, its measure, its column.
static PARTS: [(&str, &Measure, &str); 5] = [
    ("bits per dimension", &metrics::BITS, "bits_per_dim"),
    ("of x_T alone", &metrics::BITS_PRIOR, "prior_bits_per_dim"),
    ("of the steps", &metrics::BITS_STEPS, "steps_bits_per_dim"),
    ("of the bytes", &metrics::BITS_DECODER, "decoder_bits_per_dim"),
    ("beyond the truth", &metrics::BITS_GAP, "gap_bits_per_dim"),
];

/// Undoes the rounding of f32, since the bound integrates over the bins of exact byte levels.
fn as_bytes(mut x0: Array4<f64>, name: &str) -> Result<Array4<f64>> {
    for x in &mut x0 {
        let byte = (*x + 1.0) * 127.5;
        let nearest = byte.round().clamp(0.0, 255.0);
        if (byte - nearest).abs() > 1e-3 {
            let level = |byte: f64| byte / 127.5 - 1.0;
            return Err(Error::input(format!(
                "{name} holds {x:.3}, which is no byte's value (the nearest are {:.4} and {:.4}); the \
                 bound needs byte images: PNG, JPEG, or an array of bytes",
                level(byte.floor()),
                level(byte.ceil())
            )));
        }
        *x = nearest / 127.5 - 1.0;
    }
    Ok(x0)
}

fn csv(numbers: &BTreeMap<&'static str, Vec<f64>>, n: usize) -> Vec<u8> {
    let there = || {
        PARTS.iter().filter_map(|(_, measure, column)| Some((*column, numbers.get(measure.name)?)))
    };
    let header: Vec<String> = std::iter::once("image")
        .chain(there().map(|(column, _)| column))
        .map(str::to_owned)
        .collect();
    let lines = (0..n).map(|index| {
        let values = there().map(|(_, values)| values[index].to_string());
        std::iter::once(index.to_string()).chain(values).collect()
    });
    csv_bytes(&header, lines)
}

fn line(name: &str, values: &[f64]) -> String {
    let Mean { value, standard_error, n } = Mean::of(values.iter().copied());
    let spread = match n {
        1 => " (one image: no standard error)".to_owned(),
        _ => format!(" +- {standard_error:.4}"),
    };
    format!("{name:24}{value:.4}{spread}")
}
