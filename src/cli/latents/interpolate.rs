//! `ddim interpolate`.

use std::path::PathBuf;

use clap::Args;
use ndarray::{Array4, ArrayView3, Axis, stack};

use crate::cli::latents::{Pictures, calls_to_latent, check_latents};
use crate::cli::whole;
use crate::limits;
use crate::{
    cli::{
        Compute, Talk,
        images::{Images, SplitName},
        outputs::{self, Outputs},
        setting::{Bench, Inverting, Setting, samples},
        warn,
    },
    core::{self, KeyedNoise, slerp},
    error::{Error, Result},
    run::{assemble::Way, latents, registry::Registry, runner},
    terminal::progress::Progress,
};

#[derive(Debug, Args)]
#[command(
    after_help = "Two ends give a row of images. Four give a grid with the ends in its corners, the first two on top;\n\
    the left and right columns are interpolated first, then each row. Images are encoded, latents are\n\
    used unchanged, and a seed stands for the x_T of its first sample. Interpolation is spherical, each\n\
    latent being one vector (Song et al. 2021, Eq. 67).\n\nExamples:\n  \
    ddim interpolate --seeds 1,2 --model models/cifar10-small --out row.png\n  \
    ddim interpolate --seeds 1,2,3,4 --model models/cifar10-small --points 6 --out grid.png\n  \
    ddim interpolate --latents z.safetensors --pick 0,3 --out row.png\n  \
    ddim interpolate a.png b.png --model models/cifar10-small --steps 100 --out row.png"
)]
pub(in crate::cli) struct Interpolate {
    /// Images to interpolate between: files, folders, arrays, or data sets by name
    #[arg(value_name = "IMAGES", conflicts_with_all = ["latents", "seeds"])]
    data: Vec<String>,

    /// Latents to interpolate between, .npy or .safetensors
    #[arg(long, value_name = "FILE", conflicts_with = "seeds")]
    latents: Option<PathBuf>,

    /// Seeds to interpolate between, two or four
    #[arg(long, value_delimiter = ',', value_name = "A,B[,C,D]")]
    seeds: Vec<u64>,

    /// Which images or latents to interpolate between, counted from 0 [default: all of them]
    #[arg(long, value_delimiter = ',', value_name = "A,B[,C,D]", conflicts_with = "seeds")]
    pick: Vec<usize>,

    /// Images along each side, both ends included
    #[arg(long, default_value_t = 11, value_name = "N", value_parser = whole(limits::SIDE_POINTS))]
    points: usize,

    /// Positions of the images instead of --points, from 0 to 1
    #[arg(
        long,
        value_delimiter = ',',
        allow_hyphen_values = true,
        value_name = "ALPHA",
        conflicts_with = "points"
    )]
    alphas: Vec<f64>,

    /// Split of the data set, where it has several [default: test]
    #[arg(long, value_enum)]
    split: Option<SplitName>,

    #[command(flatten)]
    images: Images,

    /// A diffusers folder or a file of weights, hf:owner/name[/path][@revision], or gaussian,
    /// mixture, dirac [default: the one that made the latents]
    #[arg(long, value_name = "PATH|NAME")]
    model: Option<String>,

    #[command(flatten)]
    setting: Setting,

    #[command(flatten)]
    inverting: Inverting,

    /// row.png or grid.png, x0.npy (- is stdout), or a new folder of PNG files; may be repeated
    #[arg(long, required = true, value_name = "FILE")]
    out: Vec<PathBuf>,

    #[command(flatten)]
    compute: Compute,

    #[command(flatten)]
    talk: Talk,
}

impl Interpolate {
    pub(in crate::cli) fn run(&self, registry: &Registry) -> Result<()> {
        outputs::check(&self.out)?;
        let alphas = self.alphas()?;
        let (bench, ends) = self.ends(&alphas, registry)?;
        let z = between(&ends, &alphas)?;
        let n = z.shape()[0];
        let calls = runner::check_encoding(&bench.plan, registry)?[0].calls;
        let mut out = Outputs::open(&self.out, n, bench.sampler.shape(), alphas.len())?;
        let progress = Progress::new(calls * n as u64, self.talk.mode());
        bench.decode(z.view(), &progress, |images| out.append(images))?;
        progress.finish();
        out.finish(&self.talk)
    }

    fn alphas(&self) -> Result<Vec<f64>> {
        if self.alphas.is_empty() {
            if self.points < 2 {
                return Err(Error::input(format!(
                    "--points {}: give at least 2, for the two ends",
                    self.points
                )));
            }
            let last = (self.points - 1) as f64;
            return Ok((0..self.points).map(|i| i as f64 / last).collect());
        }
        match self.alphas.iter().find(|alpha| !(0.0..=1.0).contains(*alpha)) {
            Some(alpha) => Err(Error::input(format!(
                "--alphas: {alpha} is not between 0 and 1, where the two ends are"
            ))),
            None => Ok(self.alphas.clone()),
        }
    }

    /// The latents of the ends, and the model that decodes them.
    fn ends(&self, alphas: &[f64], registry: &Registry) -> Result<(Bench, Array4<f64>)> {
        let open = |plan| Bench::open(plan, &self.compute, registry, &self.talk);
        let of_ends = |ends: usize| {
            let n = alphas.len();
            samples(if ends == 4 { n * n } else { n })
        };
        if let Some(path) = &self.latents {
            let read = latents::read(path)?;
            let picked = self.picked(read.z.shape()[0], &path.display().to_string())?;
            let more = vec![of_ends(picked.len())];
            let plan = self.setting.plan_for(
                &read,
                path,
                self.model.as_deref(),
                more,
                (registry, &self.talk),
            )?;
            runner::check_encoding(&plan, registry)?;
            let bench = open(plan)?;
            bench.say_differences(&read, path, &self.talk);
            check_latents(path, read.z.view(), bench.sampler.shape())?;
            return Ok((bench, read.z.select(Axis(0), &picked)));
        }
        let Some(model) = self.model.as_deref() else {
            return Err(Error::input(
                "--model is missing: give a folder or file of weights, or gaussian, mixture or dirac",
            ));
        };
        if !self.seeds.is_empty() {
            let ends = self.seeds.len();
            check_ends(ends, "--seeds gives", "seeds")?;
            let more = vec![of_ends(ends)];
            let plan = self.setting.plan(Some(model), more, None, (registry, &self.talk))?;
            runner::check_encoding(&plan, registry)?;
            warn(&plan, registry, &self.talk)?;
            let bench = open(plan)?;
            let start = |seed: &u64| bench.sampler.initial(KeyedNoise { seed: *seed, first: 0 }, 1);
            let z: Vec<Array4<f64>> = self.seeds.iter().map(start).collect::<core::Result<_>>()?;
            let views: Vec<_> = z.iter().map(|z| z.index_axis(Axis(0), 0)).collect();
            let z = stack(Axis(0), &views).map_err(|error| Error::input(error.to_string()))?;
            return Ok((bench, z));
        }
        if self.data.is_empty() {
            return Err(Error::input(
                "nothing to interpolate between: name images, --latents FILE, or --seeds A,B",
            ));
        }
        let pictures = Pictures::load(&self.data, self.split, &self.images, &self.talk)?;
        let picked = self.picked(pictures.len(), &pictures.name())?;
        let mut more = self.inverting.arguments();
        more.push(of_ends(picked.len()));
        let plan = self.setting.plan(Some(model), more, None, (registry, &self.talk))?;
        runner::check_encoding(&plan, registry)?;
        let calls = calls_to_latent(&plan.cells[0].spec, registry)?;
        let bench = open(plan)?;
        pictures.check_shape(bench.sampler.shape())?;
        let x = picked.iter().map(|&i| pictures.rows(i..i + 1)).collect::<Result<Vec<_>>>()?;
        let views: Vec<ArrayView3<'_, f64>> = x.iter().map(|x| x.index_axis(Axis(0), 0)).collect();
        let x = stack(Axis(0), &views).map_err(|error| Error::input(error.to_string()))?;
        let progress = Progress::new(calls * picked.len() as u64, self.talk.mode());
        let z = bench.carry(Way::Encode, &x, 0, &progress)?;
        progress.finish();
        Ok((bench, z))
    }

    /// The positions of the ends among `n` images or latents.
    fn picked(&self, n: usize, name: &str) -> Result<Vec<usize>> {
        if self.pick.is_empty() {
            check_ends(n, &format!("{name} has"), "of them, with --pick")?;
            return Ok((0..n).collect());
        }
        check_ends(self.pick.len(), "--pick gives", "positions")?;
        match self.pick.iter().find(|&&index| index >= n) {
            Some(index) => {
                Err(Error::input(format!("--pick {index}: {name} has {n}, counted from 0")))
            }
            None => Ok(self.pick.clone()),
        }
    }
}

fn check_ends(n: usize, subject: &str, what: &str) -> Result<()> {
    match n {
        2 | 4 => Ok(()),
        _ => Err(Error::input(format!(
            "{subject} {n}, but a row has 2 ends and a grid 4; give 2 or 4 {what}"
        ))),
    }
}

/// The latents of a row between two ends, or of a grid between four corners, row by row.
fn between(ends: &Array4<f64>, alphas: &[f64]) -> Result<Array4<f64>> {
    let (_, c, h, w) = ends.dim();
    let ends: Vec<Vec<f64>> = ends.outer_iter().map(|z| z.iter().copied().collect()).collect();
    let rows: Vec<(Vec<f64>, Vec<f64>)> = match ends.as_slice() {
        [a, b, c, d] => alphas
            .iter()
            .map(|&alpha| Ok((slerp(a, c, alpha)?, slerp(b, d, alpha)?)))
            .collect::<core::Result<_>>()?,
        [a, b] => vec![(a.clone(), b.clone())],
        _ => return Err(Error::input("a row has 2 ends, a grid 4")),
    };
    let mut z = vec![];
    for (left, right) in &rows {
        for &alpha in alphas {
            z.extend(slerp(left, right, alpha)?);
        }
    }
    Array4::from_shape_vec((rows.len() * alphas.len(), c, h, w), z)
        .map_err(|error| Error::input(error.to_string()))
}
