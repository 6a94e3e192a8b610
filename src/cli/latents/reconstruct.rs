//! `ddim reconstruct`.

use std::path::PathBuf;

use clap::Args;
use ndarray::{Array4, Axis, concatenate, s};

use crate::cli::latents::{Pictures, calls_to_latent, single};
use crate::cli::whole;
use crate::limits;
use crate::{
    cli::{
        Compute, Talk, check_output,
        images::{Images, SplitName},
        outputs::{self, Outputs, is},
        setting::{Bench, Inverting, Setting, samples},
    },
    error::{Error, Result},
    metrics::{LatentStatistics, Mean, mean_squared_error},
    report::image_grid::{self, Layout},
    results::{record::csv_bytes, sink},
    run::{assemble::Way, registry::Registry, runner},
    terminal::progress::Progress,
};

/// Factor by which differences are enlarged.
const GAIN: f64 = 4.0;

#[derive(Debug, Args)]
#[command(
    after_help = "Prints the mean squared error per dimension, of unclamped values, on [0, 1] and on [-1, 1], and\n\
    statistics of the latents: true noise has std 1, excess kurtosis 0 and uncorrelated neighbours.\n\
    +- is the standard error over images. The .png shows originals, reconstructions, and 4 times their\n\
    difference (grey: none).\n\nExamples:\n  \
    ddim reconstruct faces/ --resize squash:32 --model models/cifar10-small --out faces.png\n  \
    ddim reconstruct cifar10 --range 0..64 --model models/cifar10-small --steps 100 --out errors.csv\n  \
    ddim reconstruct x0.npy --model models/cifar10-small --inversion next --state f64"
)]
pub(in crate::cli) struct Reconstruct {
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

    #[command(flatten)]
    inverting: Inverting,

    /// Number of images, from the first, that a .png shows
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = whole(limits::SHOWN))]
    show: usize,

    /// errors.csv (a row per image, with its file where it has one), pairs.png, x.npy (the
    /// reconstructions) or a new folder of them; may be repeated
    #[arg(long, value_name = "FILE")]
    out: Vec<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    compute: Compute,

    #[command(flatten)]
    talk: Talk,
}

/// The measurements of one image.
struct Row {
    error: f64,
    latent: LatentStatistics,
}

impl Reconstruct {
    #[allow(clippy::print_stdout, reason = "the errors are this command's data")]
    pub(in crate::cli) fn run(&self, registry: &Registry) -> Result<()> {
        let (files, images): (Vec<_>, Vec<_>) =
            self.out.iter().cloned().partition(|path| is(path, "csv") || is(path, "png"));
        for path in &files {
            check_output(path)?;
        }
        if let Some(path) = images.iter().find(|path| outputs::is_stdout(path)) {
            let message = "stdout is used for the errors; name a file";
            return Err(Error::input(format!("--out {}: {message}", path.display())));
        }
        outputs::check(&images)?;
        let pictures = Pictures::load(&self.data, self.split, &self.images, &self.talk)?;
        let n = pictures.len();
        let mut more = self.inverting.arguments();
        more.push(samples(n));
        let plan = self.setting.plan(Some(&self.model), more, None, (registry, &self.talk))?;
        let there = runner::check_encoding(&plan, registry)?[0].calls;
        let calls = there + calls_to_latent(&plan.cells[0].spec, registry)?;
        let bench = Bench::open(plan, &self.compute, registry, &self.talk)?;
        let shape = bench.sampler.shape();
        pictures.check_shape(shape)?;
        if let Some(path) = files.iter().find(|path| is(path, "png")) {
            outputs::check_channels(std::slice::from_ref(path), shape[0])?;
        }
        let mut out = Outputs::open(&images, n, shape, 1)?;
        let progress = Progress::new(calls * n as u64, self.talk.mode());
        let mut rows = vec![];
        let mut shown: Vec<Array4<f64>> = vec![];
        for (first, count) in bench.batches(n) {
            let x = pictures.rows(first..first + count)?;
            let z = bench.carry(Way::Encode, &x, first, &progress)?;
            let latents = z.outer_iter().map(LatentStatistics::of).collect::<Vec<_>>();
            let back = bench.carry(Way::Decode, &z, first, &progress)?;
            out.append(back.view())?;
            for ((x, back), latent) in x.outer_iter().zip(back.outer_iter()).zip(latents) {
                rows.push(Row { error: mean_squared_error(x, back), latent });
            }
            let show = self.show.saturating_sub(first).min(count);
            shown.push(back.slice(s![..show, .., .., ..]).to_owned());
        }
        progress.finish();
        out.finish(&self.talk)?;
        for path in &files {
            let bytes = if is(path, "csv") {
                csv(&rows, &pictures)
            } else {
                let views: Vec<_> = shown.iter().map(Array4::view).collect();
                let back =
                    concatenate(Axis(0), &views).map_err(|error| outputs::failed(path, &error))?;
                let x = pictures.rows(0..back.shape()[0])?;
                triptych(&x, &back).map_err(|error| outputs::failed(path, &error))?
            };
            sink::write_atomically(path, &bytes)?;
            self.talk.say(|| format!("wrote {}", path.display()));
        }
        if self.json {
            println!("{:#}", json(&rows, &pictures.name(), calls));
        } else {
            println!("{}, N = {n}, {calls} calls per image", pictures.name());
            print!("{}", summary(&rows));
        }
        Ok(())
    }
}

/// Three rows of images: originals, reconstructions and their differences.
fn triptych(
    x: &Array4<f64>,
    back: &Array4<f64>,
) -> std::result::Result<Vec<u8>, image_grid::GridError> {
    let difference = (back - x) * GAIN;
    let rows = concatenate(Axis(0), &[x.view(), back.view(), difference.view()]);
    let rows = rows.unwrap_or_default().mapv(single);
    let columns = x.shape()[0];
    image_grid::png(rows.view(), Layout { scale: 2, ..Layout::columns(columns) })
}

fn csv(rows: &[Row], pictures: &Pictures) -> Vec<u8> {
    let mut header = ["image", "file", "mse_unit", "mse"].map(str::to_owned).to_vec();
    header.extend(LatentStatistics::NAMES.map(|name| format!("latent_{name}")));
    let number = |x: f64| if x.is_nan() { String::new() } else { x.to_string() };
    let lines = rows.iter().enumerate().map(|(index, Row { error, latent })| {
        let file = pictures.file(index).map(|file| file.display().to_string());
        let file = file.unwrap_or_default();
        let mut line = vec![index.to_string(), file, number(0.25 * error), number(*error)];
        line.extend(latent.values().map(number));
        line
    });
    csv_bytes(&header, lines)
}

/// Means with their standard errors, null if undefined.
fn json(rows: &[Row], images: &str, calls: u64) -> serde_json::Value {
    let mean = |values: &mut dyn Iterator<Item = f64>| {
        let Mean { value, standard_error, .. } = Mean::of(values);
        serde_json::json!({ "value": value, "standard_error": standard_error })
    };
    let mut metrics = serde_json::Map::new();
    metrics.insert("mse_unit".into(), mean(&mut rows.iter().map(|row| 0.25 * row.error)));
    metrics.insert("mse".into(), mean(&mut rows.iter().map(|row| row.error)));
    for (column, name) in LatentStatistics::NAMES.into_iter().enumerate() {
        let values = &mut rows.iter().map(|row| row.latent.values()[column]);
        metrics.insert(format!("latent_{name}"), mean(values));
    }
    serde_json::json!({
        "images": images,
        "n": rows.len(),
        "calls_per_image": calls,
        "metrics": metrics,
    })
}

/// Means with their standard errors, one on each line.
fn summary(rows: &[Row]) -> String {
    let line = |name: &str, values: &mut dyn Iterator<Item = f64>, scientific: bool| {
        let Mean { value, standard_error, n } = Mean::of(values);
        let number = |x: f64| if scientific { format!("{x:.3e}") } else { format!("{x:.4}") };
        let spread = match n {
            1 => String::new(),
            _ => format!(" +- {}", number(standard_error)),
        };
        format!("{name:24}{}{spread}\n", number(value))
    };
    let mut lines = vec![
        line("error on [0, 1]", &mut rows.iter().map(|row| 0.25 * row.error), true),
        line("error on [-1, 1]", &mut rows.iter().map(|row| row.error), true),
    ];
    for (column, name) in LatentStatistics::NAMES.into_iter().enumerate() {
        let name = format!("latents: {name}");
        lines.push(line(&name, &mut rows.iter().map(|row| row.latent.values()[column]), false));
    }
    lines.concat()
}
