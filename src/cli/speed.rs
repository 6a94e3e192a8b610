//! `ddim speed`.

use std::{
    fmt::{self, Display, Formatter},
    io::BufRead,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use serde::Serialize;

use crate::cli::whole;
use crate::cli::{Compute, Talk, fetch};
use crate::limits;
use crate::{
    error::{Error, Result},
    hardware::{self, Hardware},
    measure::features::Extractors,
    networks::{
        flops::Flops,
        home,
        network::{Network, Wanted},
        placement::{Placement, Precision},
    },
    run::{
        assemble,
        estimate::peak_memory,
        speed::{self, Around, AtBatch, Bench, Spread},
    },
    terminal::interruption,
};

/// How often a wait for a line looks for a signal.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
#[command(
    after_help = "A round times a large matrix product and then the network; the share is that of the same round.\n\
    Numbers are medians of the rounds, with the lowest and the highest in brackets. A UNet's operations\n\
    are those of its convolutions, linear maps and attention as computed here; a program's are not\n\
    counted.\n\nExamples:\n  \
    ddim speed --model models/cifar10-small\n  \
    ddim speed --model models/cifar10 --batch 16,64 --precision bf16 --json\n  \
    ddim speed --model models/cifar10 --batch 512 --device cuda --features models/cifar10-features"
)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct Speed {
    /// A diffusers folder or a file of weights, or hf:owner/name[/path][@revision]
    #[arg(long, value_name = "PATH|NAME")]
    model: String,

    /// Images in a call; several are measured one after the other
    #[arg(long, value_delimiter = ',', default_value = "64", value_name = "N,...")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    batch: Vec<u64>,

    /// Arithmetic of the network, f32 or bf16 [default: that of a compiled package, or f32]
    #[arg(long, value_name = "KIND")]
    precision: Option<String>,

    /// Shape of an image, for networks whose files do not state it
    #[arg(long, value_delimiter = ',', value_name = "C,H,W")]
    shape: Vec<usize>,

    /// Number of rounds
    #[arg(long, default_value = "7", value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rounds: u64,

    /// Seconds of model calls in a round, at least one call
    #[arg(long, default_value_t = 0.5, value_name = "SECONDS")]
    seconds: f64,

    /// Steps S of the batch that the harness's own time is compared with
    #[arg(long, default_value_t = 20, value_name = "S", value_parser = whole(limits::STEPS))]
    steps: usize,

    /// Also time the features of the samples: a classifier's folder or file, or `inception`
    #[arg(long, value_name = "DIR|inception|FILE")]
    features: Option<String>,

    /// Time only the network, and only when asked: one round for each line on stdin, answered by a line
    /// with its image-calls a second; for scripts that alternate two programs
    #[arg(long, conflicts_with_all = ["rounds", "steps", "features", "json"])]
    paced: bool,

    /// Without the fused kernels that a UNet runs on a GPU
    #[arg(long)]
    unfused: bool,

    /// Let cuDNN time its algorithms first; nothing else does, for another run may choose others, whose
    /// results differ in the last bits
    #[arg(long)]
    cudnn_benchmark: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    compute: Compute,

    #[command(flatten)]
    talk: Talk,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
struct Report {
    model: String,
    sha256: String,
    shape: [usize; 3],
    device: String,
    threads: usize,
    precision: Precision,
    tf32: bool,
    rounds: u64,
    /// Of one image; none for a program.
    flops: Option<Counted>,
    /// Seconds to open the model.
    load_seconds: f64,
    batches: Vec<AtBatch>,
    /// The most main memory that the process held, in MiB.
    memory_mib: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Counted {
    /// As the configuration describes the network.
    configured: u64,
    /// As it is computed here.
    computed: u64,
    parts: Flops,
}

impl Speed {
    #[allow(clippy::print_stdout, reason = "the measurement is this command's data")]
    pub(super) fn run(&self) -> Result<()> {
        if !(self.seconds > 0.0 && self.seconds <= 600.0) {
            let message = format!("--seconds {}: give a number above 0, up to 600", self.seconds);
            return Err(Error::input(message));
        }
        let (precision, shape) = (self.precision()?, self.shape()?);
        let grid = speed::grid(self.steps)?;
        let path = fetch::source(&self.model, &self.talk)?;
        if !path.exists() {
            let (model, looked) = (&self.model, home::looked(&self.model));
            return Err(Error::input(format!("--model {model} does not exist ({looked})")));
        }
        let hardware = self.compute.open()?;
        let placement = Placement::on(hardware.device(), precision);
        let placement = Placement { fused: placement.fused && !self.unfused, ..placement };
        if self.cudnn_benchmark {
            tch::Cuda::cudnn_set_benchmark(true);
        }
        let clock = Instant::now();
        let network = Network::open(&path, &Wanted { shape, ..placement.into() })?;
        let load_seconds = clock.elapsed().as_secs_f64();
        self.talk.remarks(&self.model, network.remarks());
        if let Some(warning) = hardware.warning(precision) {
            self.talk.say(|| format!("warning: {warning}"));
        }
        let shape = network.shape().ok_or_else(|| {
            Error::input(format!(
                "{}: nothing says how large its images are; say so with --shape 3,32,32",
                self.model
            ))
        })?;
        for &batch in &self.batch {
            let images = usize::try_from(batch).unwrap_or(usize::MAX);
            limits::batch(images, shape)
                .map_err(|problem| Error::input(format!("--batch {batch}: {problem}")))?;
        }
        let bench = Bench {
            network: &network,
            shape,
            precision,
            hardware: &hardware,
            seconds: self.seconds,
            rounds: usize::try_from(self.rounds).unwrap_or(usize::MAX),
            grid,
            interrupted: &interruption::INTERRUPTED,
        };
        if self.paced {
            return self.paced(&bench);
        }
        let batches = self.batches(&bench, &hardware)?;
        let report = Report {
            model: self.model.clone(),
            sha256: network.sha256().to_owned(),
            shape,
            device: hardware.name(),
            threads: hardware.threads(),
            precision,
            tf32: hardware::tf32(&hardware.name()),
            rounds: self.rounds,
            flops: network.unet().map(|unet| {
                let [_, height, width] = shape;
                let parts = Flops::of(unet.config(), [height, width]);
                Counted { configured: parts.configured(), computed: parts.computed(), parts }
            }),
            load_seconds,
            batches,
            memory_mib: peak_memory(),
        };
        if self.json {
            let json = serde_json::to_string_pretty(&report);
            println!("{}", json.expect("invariant: plain data serialises"));
        } else {
            print!("{report}");
        }
        Ok(())
    }

    fn precision(&self) -> Result<Precision> {
        let Some(wanted) = &self.precision else {
            return Ok(assemble::precision(&self.model).unwrap_or_default());
        };
        let known = [Precision::F32, Precision::Bf16];
        let known = known.into_iter().find(|known| known.name() == wanted);
        known.ok_or_else(|| Error::input(format!("--precision {wanted}: give f32 or bf16")))
    }

    fn shape(&self) -> Result<Option<[usize; 3]>> {
        if self.shape.is_empty() {
            return Ok(None);
        }
        let shape = <[usize; 3]>::try_from(self.shape.as_slice()).ok();
        let fits = |shape: &[usize; 3]| {
            limits::product(shape).is_some_and(|numbers| (1..=limits::NUMBERS).contains(&numbers))
        };
        let shape = shape.filter(fits);
        shape.map(Some).ok_or_else(|| {
            let given: Vec<String> = self.shape.iter().map(ToString::to_string).collect();
            let given = given.join(",");
            Error::input(format!(
                "--shape {given}: give C,H,W, for instance 3,32,32, of at most {} numbers",
                limits::grouped(limits::NUMBERS)
            ))
        })
    }

    fn batches(&self, bench: &Bench<'_>, hardware: &Hardware) -> Result<Vec<AtBatch>> {
        let mut extractors = Extractors::new(hardware.clone());
        let features = self.features.as_deref();
        let extractor = features.map(|source| extractors.extractor(source)).transpose()?;
        let mut all = vec![];
        for &batch in &self.batch {
            let batch = usize::try_from(batch).unwrap_or(usize::MAX);
            let mut found = bench.at_batch(batch)?;
            let per_call = found.milliseconds.median / 1e3;
            found.harness = Some(bench.around(batch, per_call, extractor.as_ref())?);
            all.push(found);
        }
        Ok(all)
    }

    /// Times a round for each line on stdin.
    #[allow(clippy::print_stdout, reason = "the measurement is this command's data")]
    fn paced(&self, bench: &Bench<'_>) -> Result<()> {
        let &[batch] = self.batch.as_slice() else {
            return Err(Error::input("--paced takes one --batch"));
        };
        let warm = bench.warm(usize::try_from(batch).unwrap_or(usize::MAX))?;
        println!("ready");
        // On a thread of its own: a signal does not end the wait for a line.
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            let mut lines = std::io::stdin().lock().lines();
            while lines.next().is_some_and(|line| send.send(line).is_ok()) {}
        });
        loop {
            match lines.recv_timeout(LOOK) {
                Ok(line) => {
                    line.map_err(|error| {
                        Error::input(format!("--paced: cannot read stdin: {error}"))
                    })?;
                    println!("{:.4}", batch as f64 / warm.seconds_per_call()?);
                }
                Err(RecvTimeoutError::Timeout) if interruption::is_asked() => {
                    return Err(Error::Stopped);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }
}

/// A spread with so many decimals.
fn shown(spread: Spread, decimals: usize) -> String {
    let Spread { median, lowest, highest } = spread;
    format!("{median:.decimals$} [{lowest:.decimals$}, {highest:.decimals$}]")
}

/// A spread in percent.
fn percent(Spread { median, lowest, highest }: Spread) -> String {
    shown(Spread { median: 100.0 * median, lowest: 100.0 * lowest, highest: 100.0 * highest }, 1)
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let s = if self.threads == 1 { "" } else { "s" };
        let tf32 = match (self.precision, self.device.as_str(), self.tf32) {
            (Precision::F32, "cuda", true) => ", TF32 on",
            (Precision::F32, "cuda", false) => ", TF32 off",
            _ => "",
        };
        let (precision, rounds) = (self.precision.name(), self.rounds);
        let (model, device, threads) = (&self.model, &self.device, self.threads);
        writeln!(
            f,
            "{model} in {precision} on {device}, {threads} thread{s}{tf32}; median [lowest, highest] of {rounds} rounds"
        )?;
        if let Some(Counted { configured, computed, .. }) = &self.flops {
            let giga = |flops: u64| flops as f64 / 1e9;
            let (computed, configured) = (giga(*computed), giga(*configured));
            writeln!(
                f,
                "an image takes {computed:.3} GFLOP here, and {configured:.3} as the configuration describes it"
            )?;
        }
        for batch in &self.batches {
            write!(f, "\n{batch}")?;
        }
        let memory = self.memory_mib.map_or("not measured".to_owned(), |mib| format!("{mib} MiB"));
        writeln!(f, "\nweights read in {:.2} s; most main memory held: {memory}", self.load_seconds)
    }
}

impl Display for AtBatch {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let matrix = &self.matrix;
        let row =
            |f: &mut Formatter<'_>, name: &str, value: &str| writeln!(f, "  {name:<34}{value}");
        writeln!(f, "batch {}", self.batch)?;
        row(f, "image-calls a second", &shown(self.image_calls_per_second, 1))?;
        row(f, "milliseconds a call", &shown(self.milliseconds, 2))?;
        if let Some(gflops) = self.gflops {
            row(f, "GFLOP/s of the network", &shown(gflops, 0))?;
        }
        let side = matrix.side;
        let name = format!("GFLOP/s of a {side}^2 product");
        row(f, &name, &shown(matrix.product, 0))?;
        row(f, "the same as a 1x1 convolution", &shown(matrix.convolution, 0))?;
        if let Some(share) = self.share {
            row(f, "share of the faster, %", &percent(share))?;
        }
        self.harness.map_or(Ok(()), |harness| write!(f, "{harness}"))
    }
}

impl Display for Around {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let row = |f: &mut Formatter<'_>, name: &str, seconds: f64| {
            writeln!(f, "    {name:<32}{:.2}", 1e3 * seconds)
        };
        writeln!(f, "  around the model, milliseconds a batch of {} steps", self.steps)?;
        row(f, "x_T drawn and moved", self.initial)?;
        row(f, "steps, eta = 0", self.arithmetic)?;
        row(f, "steps, eta = 1 (noise drawn)", self.arithmetic_eta_1)?;
        row(f, "images to the host", self.to_host)?;
        row(f, "every image as a PNG", self.png)?;
        if let Some(features) = self.features {
            row(f, "features", features)?;
        }
        writeln!(
            f,
            "  together, % of the model's time   {:.2} with eta = 0, {:.2} with eta = 1",
            100.0 * self.share,
            100.0 * self.share_eta_1
        )
    }
}
