//! `ddim encode`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::latents::{Pictures, calls_to_latent};
use crate::{
    cli::{
        Compute, Talk, check_output,
        images::{Images, SplitName},
        outputs,
        setting::{Bench, Inverting, Setting, samples},
    },
    error::{Error, Result},
    run::{
        assemble::Way,
        latents::{LatentsWriter, Origin, is_latents},
        registry::Registry,
        runner,
    },
    terminal::progress::Progress,
};

#[derive(Debug, Args)]
#[command(
    after_help = "Runs the solver on the reversed grid, from the image to x_T. The file records how it was made, and\n\
    `ddim decode` reads that.\n\nExamples:\n  \
    ddim encode faces/ --model models/cifar10-small --resize squash:32 --out z.safetensors\n  \
    ddim encode cifar10 --range 0..64 --model models/cifar10-small --steps 100 --out z.npy\n  \
    ddim encode a.png --model models/cifar10-small --inversion fixed-point --state f64 --out z.npy"
)]
pub(in crate::cli) struct Encode {
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

    /// z.npy or z.safetensors, [N, C, H, W] in the precision of --state; - writes the .npy to stdout,
    /// without a record of how it was made
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    #[command(flatten)]
    compute: Compute,

    #[command(flatten)]
    talk: Talk,
}

impl Encode {
    pub(in crate::cli) fn run(&self, registry: &Registry) -> Result<()> {
        if outputs::is_stdout(&self.out) {
            outputs::check_stdout()?;
        } else if is_latents(&self.out) {
            check_output(&self.out)?;
        } else {
            return Err(Error::input(format!(
                "--out {}: latents are written as .npy or .safetensors; - is .npy to stdout",
                self.out.display()
            )));
        }
        let pictures = Pictures::load(&self.data, self.split, &self.images, &self.talk)?;
        let n = pictures.len();
        let mut more = self.inverting.arguments();
        more.push(samples(n));
        let plan = self.setting.plan(Some(&self.model), more, None, (registry, &self.talk))?;
        runner::check_encoding(&plan, registry)?;
        let calls = calls_to_latent(&plan.cells[0].spec, registry)?;
        let bench = Bench::open(plan, &self.compute, registry, &self.talk)?;
        let shape @ [c, h, w] = bench.sampler.shape();
        pictures.check_shape(shape)?;
        let images = Some((pictures.name(), pictures.sha256()?));
        let origin = Origin::new(&bench.plan, bench.spec(), bench.weights.clone(), images);
        let mut out = LatentsWriter::create(&self.out, [n, c, h, w], bench.state(), origin)?;
        let progress = Progress::new(calls * n as u64, self.talk.mode());
        for (first, rows) in bench.batches(n) {
            let x = pictures.rows(first..first + rows)?;
            out.append(bench.carry(Way::Encode, &x, first, &progress)?.view())?;
        }
        progress.finish();
        out.finish()?;
        if !outputs::is_stdout(&self.out) {
            self.talk.say(|| format!("wrote {}", self.out.display()));
        }
        Ok(())
    }
}
