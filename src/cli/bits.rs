//! `ddim bits`.

use std::path::PathBuf;

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
    likelihood::Bits as Bound,
    metrics::Mean,
    results::{record::csv_bytes, sink},
    run::{registry::Registry, runner},
    terminal::progress::Progress,
};

#[derive(Debug, Args)]
#[command(
    after_help = "Prints the variational bound on the negative log-likelihood of byte images, with its standard error\n\
    over images, and the share of x_T, which no model can change. Each step is one term and one model\n\
    call. The solver is ddpm: with an eta above 0 [default: 1], or with variance sigma-hat or learned.\n\n\
    Examples:\n  \
    ddim bits cifar10 --range 0..64 --model models/cifar10-small --steps 100\n  \
    ddim bits faces/ --resize squash:32 --model models/cifar10-small --variance sigma-hat\n  \
    ddim bits a.png --model models/cifar10-small --tau linspace --steps 1000 --out bits.csv",
    mut_arg("solver", |solver| solver.help("The solver: only ddpm has this bound [default: ddpm]"))
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
        let mut more = self.setting.solver_or("ddpm");
        more.push(samples(n));
        let plan = self.setting.plan(Some(&self.model), more, None, (registry, &self.talk))?;
        let calls = runner::check_encoding(&plan, registry)?[0].calls;
        let kind = &plan.cells[0].spec.solver.kind;
        if kind != "ddpm" {
            return Err(Error::input(format!(
                "--solver {kind}: only ddpm has this bound; leave the flag out"
            )));
        }
        let bench = Bench::open(plan, &self.compute, registry, &self.talk)?;
        pictures.check_shape(bench.sampler.shape())?;
        let progress = Progress::new(calls * n as u64, self.talk.mode());
        let mut bound = Bound { total: vec![], prior: vec![] };
        for (first, rows) in bench.batches(n) {
            let x0 = as_bytes(pictures.rows(first..first + rows), &pictures.name())?;
            let parts = bench.in_parts(first..first + rows, &progress, |part, watch| {
                let noise = KeyedNoise { seed: bench.spec().seed, first: part.start as u64 };
                let rows = s![part.start - first..part.end - first, .., .., ..];
                bench.sampler.bits(x0.slice(rows).to_owned(), noise, watch)
            })?;
            for part in parts {
                bound.total.extend(part.total);
                bound.prior.extend(part.prior);
            }
        }
        progress.finish();
        if let Some(path) = &self.out {
            sink::write_atomically(path, &csv(&bound))?;
            self.talk.note(|| format!("wrote {}", path.display()));
        }
        println!("{}, N = {n}, {calls} calls per image", pictures.name());
        println!("{}", line("bits per dimension", &bound.total));
        println!("{}", line("of x_T alone", &bound.prior));
        Ok(())
    }
}

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

fn csv(bound: &Bound) -> Vec<u8> {
    let header = ["image", "bits_per_dim", "prior_bits_per_dim"].map(str::to_owned);
    let lines = bound.total.iter().zip(&bound.prior).enumerate().map(|(index, (total, prior))| {
        vec![index.to_string(), total.to_string(), prior.to_string()]
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
