//! Noise as a pure function of (seed, sample, draw).
//!
//! A sample's noise does not depend on its batch, on the order of the cells, on a resumed run or on the
//! device, and x_T is the same for every solver, S and eta. The key of a `ChaCha8` generator is (seed,
//! sample), its stream is the draw, and the normals come from the ziggurat of `rand_distr`, on the host
//! and in f64. This holds for fixed versions of the three crates; a test pins the first values.

use ndarray_rand::rand_distr::{Distribution, StandardNormal};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::core::{Error, Result};

/// Which normals of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Draw {
    /// x_T.
    Initial,
    /// The noise of one step.
    Step {
        /// Position in the requested sequence of levels, duplicates counted.
        position: u32,
        /// 0 for the first draw of the step, 1 for the second, ...
        sub: u8,
    },
    /// One of the draws of training; samples are then images in the order they are seen.
    Training {
        /// Which of them.
        sub: u8,
    },
    /// A draw from the data itself, if its distribution is known, to compare samples with.
    Data {
        /// Which of the sets.
        sub: u8,
    },
    /// Directions that samples are projected onto.
    Directions,
    /// A probe of a Jacobian's trace.
    Probe {
        /// 0 for the first probe of a sample, 1 for the second, ...
        k: u8,
    },
    /// Where in its bin the value of a byte lies.
    Bin,
}

impl Draw {
    fn stream(self) -> u64 {
        match self {
            Self::Initial => 0,
            Self::Step { position, sub } => 1 + (u64::from(position) << 8 | u64::from(sub)),
            Self::Training { sub } => 1 << 63 | u64::from(sub),
            Self::Data { sub } => 1 << 62 | u64::from(sub),
            Self::Directions => 1 << 61,
            Self::Probe { k } => 1 << 60 | u64::from(k),
            Self::Bin => 1 << 59,
        }
    }
}

/// Where a solver's noise comes from.
pub trait Noise<S> {
    /// Standard normals in the shape, type and place of `like`.
    ///
    /// # Errors
    /// Whatever the tensor library returns.
    fn draw(&self, like: &S, draw: Draw) -> Result<S>;

    /// Which sample row 0 is; errors name samples by it.
    fn first(&self) -> u64 {
        0
    }
}

/// The noise of a deterministic run: asking for it is an error.
#[derive(Clone, Copy, Debug)]
pub struct NoNoise;

impl<S> Noise<S> for NoNoise {
    fn draw(&self, _: &S, _: Draw) -> Result<S> {
        Err(Error::model("noise was drawn in a run that has none"))
    }
}

/// Noise keyed by (seed, sample, draw); row `i` of a state is sample `first + i`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyedNoise {
    /// The run's seed.
    pub seed: u64,
    /// Index of the sample in row 0.
    pub first: u64,
}

impl KeyedNoise {
    /// Standard normals for the rows of a batch, `out.len() / rows` each, row by row.
    ///
    /// `cast` turns the f64 normal into the element type, so f32 states see the rounded f64 noise.
    pub fn fill<T: Send>(&self, out: &mut [T], rows: usize, draw: Draw, cast: fn(f64) -> T) {
        let per_row = out.len() / rows.max(1);
        if per_row == 0 {
            return;
        }
        out.par_chunks_mut(per_row).enumerate().for_each(|(i, row)| {
            let mut generator = generator(self.seed, self.first + i as u64, draw);
            for value in row {
                *value = cast(StandardNormal.sample(&mut generator));
            }
        });
    }
}

/// The generator of one draw of one sample.
pub fn generator(seed: u64, sample: u64, draw: Draw) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&sample.to_le_bytes());
    let mut generator = ChaCha8Rng::from_seed(key);
    generator.set_stream(draw.stream());
    generator
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normals(seed: u64, first: u64, rows: usize, draw: Draw) -> Vec<f64> {
        let mut out = vec![0.0; rows * 3];
        KeyedNoise { seed, first }.fill(&mut out, rows, draw, |z| z);
        out
    }

    #[test]
    fn a_sample_does_not_depend_on_its_place_in_the_batch() {
        let draw = Draw::Step { position: 4, sub: 0 };
        let batch = normals(7, 10, 5, draw);
        assert_eq!(normals(7, 12, 1, draw), batch[6..9]);
    }

    #[test]
    fn seed_sample_and_draw_each_change_the_noise() {
        let base = normals(0, 0, 1, Draw::Initial);
        assert_ne!(base, normals(1, 0, 1, Draw::Initial));
        assert_ne!(base, normals(0, 1, 1, Draw::Initial));
        assert_ne!(base, normals(0, 0, 1, Draw::Step { position: 0, sub: 0 }));
        assert_ne!(
            normals(0, 0, 1, Draw::Step { position: 0, sub: 1 }),
            normals(0, 0, 1, Draw::Step { position: 1, sub: 0 })
        );
    }

    #[test]
    fn a_million_normals_have_the_moments_of_the_normal_distribution() {
        let mut out = vec![0.0; 1_000_000];
        KeyedNoise { seed: 0, first: 0 }.fill(&mut out, 1000, Draw::Initial, |z| z);
        let n = out.len() as f64;
        let moment = |k: i32| out.iter().map(|z: &f64| z.powi(k)).sum::<f64>() / n;
        // Four standard errors: 1, sqrt(2), sqrt(15), sqrt(96) over sqrt(N).
        assert!(moment(1).abs() < 4.0 / n.sqrt());
        assert!((moment(2) - 1.0).abs() < 4.0 * (2.0 / n).sqrt());
        assert!(moment(3).abs() < 4.0 * (15.0 / n).sqrt());
        assert!((moment(4) - 3.0).abs() < 4.0 * (96.0 / n).sqrt());
    }
}
