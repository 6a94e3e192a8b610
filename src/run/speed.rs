//! How fast a network runs, as a share of what the machine can do, and what the harness adds to it.
//!
//! A round times a large matrix product and then the network, so that whatever else the machine does
//! meets both. What is stated is the median over rounds with the lowest and the highest. On a GPU every
//! timed stretch begins and ends when the device has nothing left to do.

use std::{
    rc::Rc,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use ndarray::{Array4, Axis};
use serde::Serialize;
use tch::{Cuda, Device, Kind, Tensor};

use crate::{
    backends::torch,
    core::{self, At, Denoiser, Draw, End, Grid, KeyedNoise, Noise, Schedule, Tau, integrate},
    error::{Error, Result},
    hardware::Hardware,
    measure::features::{Place, features},
    networks::{features::FeatureExtractor, flops::Flops, network::Network, placement::Precision},
    report::image_grid::{self, Layout},
    run::assemble::single,
    solvers::{Ddim, Variance},
    terminal::interruption::Calling,
};

/// Calls of a network before it is timed: the first ones choose algorithms and reserve memory.
const WARM_CALLS: u32 = 3;

/// The smallest and the largest side of the square matrices: the first power of two between them whose
/// product takes [`LONG_PRODUCT`], or the largest.
const SMALLEST: i64 = 1024;
const LARGEST: i64 = 8192;

/// Seconds of a product that is long enough for the machine's rate.
const LONG_PRODUCT: f64 = 0.02;

/// The median of the rounds, with the lowest and the highest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The lowest.
    pub lowest: f64,
    /// The highest.
    pub highest: f64,
}

impl Spread {
    /// Of one number for each round.
    ///
    /// # Panics
    /// Without rounds.
    pub fn of(rounds: &[f64]) -> Self {
        let mut sorted = rounds.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (n, last) = (sorted.len(), sorted.len() - 1);
        Self {
            median: f64::midpoint(sorted[last / 2], sorted[n / 2]),
            lowest: sorted[0],
            highest: sorted[last],
        }
    }
}

/// What is timed, and how long.
pub struct Bench<'a> {
    /// The network.
    pub network: &'a Network,
    /// The shape of its images, `[C, H, W]`.
    pub shape: [usize; 3],
    /// The number format inside it.
    pub precision: Precision,
    /// What it runs on.
    pub hardware: &'a Hardware,
    /// Seconds that a round of model calls takes at least.
    pub seconds: f64,
    /// Rounds.
    pub rounds: usize,
    /// What the harness's own time is measured on: [`grid`].
    pub grid: Grid,
    /// Set by Ctrl-C.
    pub interrupted: &'a AtomicBool,
}

/// The rate of a large square product in the network's number format, threads and device.
#[derive(Clone, Debug, Serialize)]
pub struct Matrix {
    /// The side of the matrices.
    pub side: i64,
    /// GFLOP/s of LibTorch's matrix product.
    pub product: Spread,
    /// GFLOP/s of the same product as a 1x1 convolution, which another library may compute.
    pub convolution: Spread,
    /// GFLOP/s of the faster of the two in each round: the machine's rate.
    pub fastest: Spread,
}

/// A network at one batch.
#[derive(Clone, Debug, Serialize)]
pub struct AtBatch {
    /// Images in a call.
    pub batch: usize,
    /// The matrix products of the same rounds.
    pub matrix: Matrix,
    /// Milliseconds of a call.
    pub milliseconds: Spread,
    /// Images times calls in a second.
    pub image_calls_per_second: Spread,
    /// GFLOP/s of what is computed; none for a program, whose operations are not counted.
    pub gflops: Option<Spread>,
    /// That as a share of the machine's rate in the same round.
    pub share: Option<Spread>,
    /// What the harness adds.
    pub harness: Option<Around>,
}

/// Seconds that the harness takes around the model for one batch.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Around {
    /// DDIM steps of a batch.
    pub steps: usize,
    /// Drawing x_T and moving it to the device.
    pub initial: f64,
    /// All steps of DDIM without the model: arithmetic and the check for numbers that are not finite.
    pub arithmetic: f64,
    /// The same with eta = 1, which draws noise at every step but the last and moves it to the device.
    pub arithmetic_eta_1: f64,
    /// Bringing the images to the host.
    pub to_host: f64,
    /// Rounding all images to bytes and encoding each as a PNG.
    pub png: f64,
    /// Computing the features of all images, if a feature network is given.
    pub features: Option<f64>,
    /// All of it but `arithmetic_eta_1`, as a share of the model calls' time.
    pub share: f64,
    /// The same with `arithmetic_eta_1` for `arithmetic`.
    pub share_eta_1: f64,
}

/// Images at one batch, ready to be timed.
pub struct Warm<'a> {
    bench: &'a Bench<'a>,
    x: Tensor,
    at: At,
    calls: u32,
}

impl<'a> Bench<'a> {
    /// Draws images and calls the network until it is warm.
    ///
    /// # Errors
    /// Whatever the network or LibTorch returns.
    pub fn warm(&'a self, batch: usize) -> Result<Warm<'a>> {
        let level = schedule()?.level(500.0)?;
        let mut warm = Warm { bench: self, x: self.images(batch)?, at: level.into(), calls: 1 };
        let clock = Instant::now();
        let (mut done, mut last) = (0, f64::MAX);
        while done < WARM_CALLS || clock.elapsed().as_secs_f64() < self.seconds {
            last = warm.seconds_per_call()?;
            done += 1;
        }
        warm.calls = repetitions(self.seconds, last);
        Ok(warm)
    }

    /// Times the network at one batch, and the matrix product beside it.
    ///
    /// # Errors
    /// As [`Bench::warm`], and an interruption.
    pub fn at_batch(&'a self, batch: usize) -> Result<AtBatch> {
        let warm = self.warm(batch)?;
        let products = self.products()?;
        let [mut product, mut convolution, mut fastest, mut calls] = [const { vec![] }; 4];
        for _ in 0..self.rounds {
            let [direct, convolved] = products.gflops(self)?;
            product.push(direct);
            convolution.push(convolved);
            fastest.push(direct.max(convolved));
            calls.push(warm.seconds_per_call()?);
        }
        let [_, height, width] = self.shape;
        let unet = self.network.unet();
        let computed = unet.map(|unet| Flops::of(unet.config(), [height, width]).computed());
        let gflops: Option<Vec<f64>> = computed.map(|flops| {
            let of_batch = flops as f64 * batch as f64 / 1e9;
            calls.iter().map(|seconds| of_batch / seconds).collect()
        });
        let share = |gflops: &Vec<f64>| {
            let shares = gflops.iter().zip(&fastest).map(|(found, rate)| found / rate);
            Spread::of(&shares.collect::<Vec<_>>())
        };
        let of_calls =
            |f: &dyn Fn(f64) -> f64| Spread::of(&calls.iter().map(|&s| f(s)).collect::<Vec<_>>());
        Ok(AtBatch {
            batch,
            milliseconds: of_calls(&|seconds| 1e3 * seconds),
            image_calls_per_second: of_calls(&|seconds| batch as f64 / seconds),
            share: gflops.as_ref().map(share),
            gflops: gflops.as_deref().map(Spread::of),
            matrix: Matrix {
                side: products.side,
                product: Spread::of(&product),
                convolution: Spread::of(&convolution),
                fastest: Spread::of(&fastest),
            },
            harness: None,
        })
    }

    /// Times what the harness does around the model calls of the grid, each of `seconds_per_call`.
    ///
    /// # Errors
    /// Images that the feature network or a PNG does not take, and as [`Bench::at_batch`].
    pub fn around(
        &self,
        batch: usize,
        seconds_per_call: f64,
        extractor: Option<&Rc<dyn FeatureExtractor>>,
    ) -> Result<Around> {
        let noise = KeyedNoise { seed: 0, first: 0 };
        let x = self.images(batch)?;
        let walk = |eta: f64| {
            let solver = Ddim { variance: Variance::Eta(eta) };
            let free = Constant(x.shallow_clone());
            let start = x.shallow_clone();
            integrate(&solver, &free, &noise, &self.grid, start, |_, _, _| Ok(()))?;
            Ok(())
        };
        let initial = self.median(|| Ok(noise.draw(&x, Draw::Initial)?))?;
        let arithmetic = self.median(|| walk(0.0))?;
        let arithmetic_eta_1 = self.median(|| walk(1.0))?;
        let to_host = |x: &Tensor| single(torch::to_states(x)?.view(), 0);
        let images: Array4<f32> = to_host(&x)?;
        let to_host = self.median(|| Ok(to_host(&x)?))?;
        let png = self.median(|| {
            for image in images.axis_iter(Axis(0)) {
                let layout = Layout { padding: 0, ..Layout::columns(1) };
                image_grid::png(image.insert_axis(Axis(0)), layout)?;
            }
            Ok(())
        })?;
        let place = Place::on(self.hardware.device());
        let features = extractor
            .map(|extractor| self.median(|| features(&**extractor, images.view(), true, &place)));
        let features = features.transpose()?;
        let steps = self.grid.requested();
        let model = steps as f64 * seconds_per_call;
        let rest = initial + to_host + png + features.unwrap_or(0.0);
        Ok(Around {
            steps,
            initial,
            arithmetic,
            arithmetic_eta_1,
            to_host,
            png,
            features,
            share: (rest + arithmetic) / model,
            share_eta_1: (rest + arithmetic_eta_1) / model,
        })
    }

    /// The median seconds of some work, after one turn that is not timed.
    fn median<T>(&self, work: impl Fn() -> Result<T>) -> Result<f64> {
        work()?;
        let rounds: Result<Vec<f64>> = (0..self.rounds).map(|_| self.timed(&work)).collect();
        Ok(Spread::of(&rounds?).median)
    }

    /// The seconds of some work, until the device has done it.
    fn timed<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<f64> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(core::Error::Interrupted.into());
        }
        self.wait();
        let _calling = Calling::begin();
        let clock = Instant::now();
        let done = work()?;
        self.wait();
        let seconds = clock.elapsed().as_secs_f64();
        drop(done);
        Ok(seconds)
    }

    fn wait(&self) {
        if let Device::Cuda(index) = self.hardware.device() {
            Cuda::synchronize(i64::try_from(index).unwrap_or(0));
        }
    }

    /// x_T of a batch. Real noise: a GPU multiplies zeros at a lower power, and faster.
    fn images(&self, batch: usize) -> Result<Tensor> {
        let [c, h, w] = self.shape;
        let zeros = Array4::<f64>::zeros((batch, c, h, w));
        let like = torch::from_states(&zeros, Kind::Float, self.hardware.device())?;
        Ok(KeyedNoise { seed: 0, first: 0 }.draw(&like, Draw::Initial)?)
    }

    /// Square matrices whose product takes long enough.
    fn products(&self) -> Result<Products> {
        let mut side = SMALLEST;
        loop {
            let products = Products::new(side, self.precision.kind(), self.hardware.device())
                .map_err(torch_error)?;
            products.seconds(self, [1; 2])?; // the first product of a process sets libraries up
            let [direct, convolved] = products.seconds(self, [1; 2])?;
            if direct.min(convolved) > LONG_PRODUCT || side == LARGEST {
                return Ok(products);
            }
            side *= 2;
        }
    }
}

impl Warm<'_> {
    /// One round of calls: the seconds of a call.
    ///
    /// # Errors
    /// As [`Bench::at_batch`].
    pub fn seconds_per_call(&self) -> Result<f64> {
        let seconds = self.bench.timed(|| {
            for _ in 0..self.calls {
                let _ = self.bench.network.predict(&self.x, self.at)?;
            }
            Ok(())
        })?;
        Ok(seconds / f64::from(self.calls))
    }
}

/// Two square matrices, as such and as a 1x1 convolution of images.
struct Products {
    side: i64,
    matrices: [Tensor; 2],
    convolution: [Tensor; 2],
}

impl Products {
    fn new(side: i64, kind: Kind, device: Device) -> std::result::Result<Self, tch::TchError> {
        let noise = || {
            // A pattern without structure that costs no generator; LibTorch's own is used nowhere.
            let rows = Tensor::f_arange(side, (Kind::Double, device))?;
            let mixed = rows.f_unsqueeze(1)?.f_mul_scalar(0.618)?.f_add(&rows.f_square()?)?;
            mixed.f_sin()?.f_to_kind(kind)
        };
        let matrices = [noise()?, noise()?];
        // Rows as the pixels of images of 16 x 16, channels-last: the same numbers in memory.
        let images = matrices[0].f_view([side / 256, 16, 16, side])?.f_permute([0, 3, 1, 2])?;
        let kernel = matrices[1].f_view([side, side, 1, 1])?;
        Ok(Self { side, matrices, convolution: [images, kernel] })
    }

    /// Seconds of the product and of the convolution, each the mean of so many.
    fn seconds(&self, bench: &Bench<'_>, times: [u32; 2]) -> Result<[f64; 2]> {
        let [a, b] = &self.matrices;
        let [images, kernel] = &self.convolution;
        let multiply = || a.f_matmul(b);
        let convolve = || images.f_conv2d(kernel, None::<&Tensor>, [1; 2], [0; 2], [1; 2], 1);
        let ways: [&dyn Fn() -> std::result::Result<Tensor, tch::TchError>; 2] =
            [&multiply, &convolve];
        let mut seconds = [0.0; 2];
        for ((seconds, way), times) in seconds.iter_mut().zip(ways).zip(times) {
            let all = bench.timed(|| {
                tch::no_grad(|| (0..times).try_for_each(|_| way().map(drop))).map_err(torch_error)
            });
            *seconds = all? / f64::from(times);
        }
        Ok(seconds)
    }

    /// GFLOP/s of both, over a third of a round each.
    fn gflops(&self, bench: &Bench<'_>) -> Result<[f64; 2]> {
        let once = self.seconds(bench, [1; 2])?;
        let times = once.map(|seconds| repetitions(bench.seconds / 3.0, seconds));
        let flops = 2.0 * (self.side as f64).powi(3);
        Ok(self.seconds(bench, times)?.map(|seconds| flops / seconds / 1e9))
    }
}

/// A model that costs nothing.
struct Constant(Tensor);

impl Denoiser for Constant {
    type State = Tensor;

    fn predict(&self, _: &Tensor, _: At) -> core::Result<Tensor> {
        Ok(self.0.shallow_clone())
    }
}

/// How often something that takes `once` seconds is repeated to fill some seconds.
fn repetitions(seconds: f64, once: f64) -> u32 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    let times = (seconds / once.max(1e-9)).ceil().clamp(1.0, 1e6) as u32;
    times
}

fn torch_error(error: tch::TchError) -> Error {
    core::Error::model(error).into()
}

/// The grid of so many steps of DDIM, from x_T to images.
///
/// # Errors
/// No steps, or more than there are timesteps.
///
/// # Panics
/// Never: the spacing of the steps is one of the families.
pub fn grid(steps: usize) -> core::Result<Grid> {
    let tau = Tau::named("official-uniform").expect("invariant: it is one of the families");
    Grid::new(&schedule()?, &tau, steps, End::Clean)
}

fn schedule() -> core::Result<Schedule> {
    Schedule::linear(1e-4, 0.02, 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_median_with_the_ends() {
        let of = |rounds: &[f64]| {
            let Spread { median, lowest, highest } = Spread::of(rounds);
            [median, lowest, highest]
        };
        approx::assert_abs_diff_eq!(of(&[3.0, 1.0, 2.0])[..], [2.0, 1.0, 3.0]);
        approx::assert_abs_diff_eq!(of(&[4.0, 1.0, 2.0, 3.0])[..], [2.5, 1.0, 4.0]);
        approx::assert_abs_diff_eq!(of(&[7.0])[..], [7.0, 7.0, 7.0]);
    }

    #[test]
    fn the_convolution_beside_a_product_is_the_same_product() {
        let products = Products::new(256, Kind::Double, Device::Cpu).unwrap();
        let [a, b] = &products.matrices;
        let [images, kernel] = &products.convolution;
        let convolved = images.conv2d(kernel, None::<&Tensor>, 1, 0, 1, 1);
        let convolved = convolved.permute([0, 2, 3, 1]).reshape([256, 256]);
        let difference = (convolved - a.matmul(&b.tr())).abs().max().double_value(&[]);
        assert!(difference < 1e-9, "{difference:e}");
        // The matrices are not full of one number, nor of small ones.
        assert!(a.std(false).double_value(&[]) > 0.5);
    }

    #[test]
    fn work_is_repeated_until_it_fills_a_round() {
        assert_eq!(repetitions(1.0, 0.3), 4);
        assert_eq!(repetitions(0.1, 3.0), 1);
        assert_eq!(repetitions(1.0, 0.0), 1_000_000);
    }
}
