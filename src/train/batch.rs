//! The images of a step, with everything that is drawn for them.

use ndarray::{ArrayView3, Axis};
use rand::Rng;
use rayon::prelude::*;

use super::{order::Order, settings::Augmentation};
use crate::{
    core::{Draw, KeyedNoise, generator},
    data::ImageSet,
};

const CHOICES: Draw = Draw::Training { sub: 3 };
const NOISE: Draw = Draw::Training { sub: 4 };

/// What one step sees, on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The counter of the first image.
    pub first: u64,
    /// `[N, C, H, W]`.
    pub shape: [usize; 4],
    /// Bytes, flipped and shifted.
    pub images: Vec<u8>,
    /// The class of each image; empty where the set has none.
    pub classes: Vec<i64>,
    /// The noise label t of each image, 0-based.
    pub labels: Vec<i64>,
    /// The noise eps of each image, as long as `images`; empty where there are no labels.
    pub noise: Vec<f32>,
}

/// Where batches come from.
#[derive(Clone, Debug)]
pub struct Feed<'a> {
    set: &'a ImageSet,
    seed: u64,
    batch: usize,
    augmentation: Augmentation,
    /// The number of noise labels T; 0 draws neither labels nor noise.
    horizon: usize,
    order: Order,
}

impl<'a> Feed<'a> {
    /// Batches of `batch` images of a set, with labels below `horizon`.
    ///
    /// # Panics
    /// If the set is empty.
    pub fn new(
        set: &'a ImageSet,
        (seed, batch): (u64, usize),
        augmentation: Augmentation,
        horizon: usize,
    ) -> Self {
        Self { set, seed, batch, augmentation, horizon, order: Order::new(seed, set.len()) }
    }

    /// The batch that begins with the image of this counter: a pure function of it.
    pub fn batch(&mut self, first: u64) -> Batch {
        let [c, h, w] = self.set.shape();
        let pixels = c * h * w;
        let positions: Vec<usize> =
            (0..self.batch as u64).map(|i| self.order.position(first + i)).collect();
        let mut images = vec![0; self.batch * pixels];
        let Self { set, seed, batch, augmentation, horizon, .. } = *self;
        let labels = images
            .par_chunks_mut(pixels)
            .zip(&positions)
            .enumerate()
            .map(|(i, (out, &position))| {
                let mut choices = generator(seed, first + i as u64, CHOICES);
                // Drawn whether used or not: one augmentation does not change the others' draws.
                let mirrored = choices.r#gen::<bool>() && augmentation.flip;
                let side = 2 * augmentation.shift + 1;
                let moved = [choices.gen_range(0..side), choices.gen_range(0..side)];
                copy(set.images.index_axis(Axis(0), position), out, mirrored, moved, augmentation);
                if horizon == 0 { 0 } else { choices.gen_range(0..horizon as u64).cast_signed() }
            })
            .collect();
        let (labels, mut noise) = match horizon {
            0 => (vec![], vec![]),
            _ => (labels, vec![0.0; batch * pixels]),
        };
        #[allow(clippy::cast_possible_truncation)] // the rounded f64 normal is meant
        KeyedNoise { seed, first }.fill(&mut noise, batch, NOISE, |z| z as f32);
        let classes = positions.iter().filter_map(|&p| set.labels.get(p).map(|&l| i64::from(l)));
        Batch { first, shape: [batch, c, h, w], images, classes: classes.collect(), labels, noise }
    }
}

/// Copies an image, mirrored and moved; what moves in is 0.
fn copy(
    image: ArrayView3<'_, u8>,
    out: &mut [u8],
    mirrored: bool,
    moved: [usize; 2],
    Augmentation { shift, .. }: Augmentation,
) {
    let (c, h, w) = image.dim();
    let mut out = out.iter_mut();
    for channel in 0..c {
        for row in 0..h {
            for column in 0..w {
                let column = if mirrored { w - 1 - column } else { column };
                let from = [row + moved[0], column + moved[1]];
                let inside =
                    (shift..h + shift).contains(&from[0]) && (shift..w + shift).contains(&from[1]);
                let Some(value) = out.next() else { return };
                *value =
                    if inside { image[[channel, from[0] - shift, from[1] - shift]] } else { 0 };
            }
        }
    }
}
