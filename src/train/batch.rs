//! The images of a step, with everything that is drawn for them.

use ndarray::{ArrayView3, Axis};
use rand::Rng;
use rayon::prelude::*;

use crate::train::{order::Order, settings::Augmentation};
use crate::{
    core::{Draw, KeyedNoise, generator},
    data::HeldSet,
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
    /// The timestep t of each image, 0-based; empty where nothing is noised.
    pub timesteps: Vec<i64>,
    /// The noise eps of each image, as long as `images`; empty where nothing is noised.
    pub noise: Vec<f32>,
    /// The weight of each image's loss; empty where all are 1.
    pub weights: Vec<f32>,
}

impl Batch {
    /// The same images as at most `count` batches, one after another and as equal as can be.
    pub fn parts(&self, count: usize) -> Vec<Self> {
        let [n, c, h, w] = self.shape;
        let count = count.clamp(1, n.max(1));
        let part = |k: usize| {
            let images = k * n / count..(k + 1) * n / count;
            let values = images.start * c * h * w..images.end * c * h * w;
            Self {
                first: self.first + images.start as u64,
                shape: [images.len(), c, h, w],
                images: self.images[values.clone()].to_vec(),
                classes: self.classes.get(images.clone()).unwrap_or_default().to_vec(),
                timesteps: self.timesteps.get(images.clone()).unwrap_or_default().to_vec(),
                weights: self.weights.get(images).unwrap_or_default().to_vec(),
                noise: self.noise.get(values).unwrap_or_default().to_vec(),
            }
        };
        (0..count).map(part).collect()
    }
}

/// Where batches come from.
#[derive(Clone, Debug)]
pub struct Feed<'a> {
    set: &'a HeldSet,
    seed: u64,
    batch: usize,
    augmentation: Augmentation,
    /// The number of timesteps T; 0 draws neither timesteps nor noise.
    horizon: usize,
    order: Order,
}

impl<'a> Feed<'a> {
    /// Batches of `batch` images of a set, with timesteps below `horizon`.
    ///
    /// # Panics
    /// If the set is empty.
    pub fn new(
        set: &'a HeldSet,
        (seed, batch): (u64, usize),
        augmentation: Augmentation,
        horizon: usize,
    ) -> Self {
        Self { set, seed, batch, augmentation, horizon, order: Order::new(seed, set.len()) }
    }

    /// The batch that begins with the image of this counter: a pure function of the counter.
    pub fn batch(&mut self, first: u64) -> Batch {
        let [c, h, w] = self.set.shape();
        let pixels = c * h * w;
        let positions: Vec<usize> =
            (0..self.batch as u64).map(|i| self.order.position(first + i)).collect();
        let mut images = vec![0; self.batch * pixels];
        let Self { set, seed, batch, augmentation, horizon, .. } = *self;
        let timesteps = images
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
        let (timesteps, mut noise) = match horizon {
            0 => (vec![], vec![]),
            _ => (timesteps, vec![0.0; batch * pixels]),
        };
        #[allow(clippy::cast_possible_truncation)] // the rounded f64 normal is meant
        KeyedNoise { seed, first }.fill(&mut noise, batch, NOISE, |z| z as f32);
        let classes =
            positions.iter().filter_map(|&p| set.classes.get(p).map(|&class| i64::from(class)));
        Batch {
            first,
            shape: [batch, c, h, w],
            images,
            classes: classes.collect(),
            timesteps,
            noise,
            weights: vec![],
        }
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

#[cfg(test)]
mod tests {
    use ndarray::Array4;

    use super::*;

    /// Images of one channel whose bytes say image, row and column.
    fn set() -> HeldSet {
        let byte = |(n, _, h, w): (usize, usize, usize, usize)| 100 + 20 * n + 5 * h + w;
        HeldSet {
            images: Array4::from_shape_fn((6, 1, 4, 4), |at| u8::try_from(byte(at)).unwrap()),
            classes: (0..6).collect(),
            name: "bytes".to_owned(),
            split: "all".to_owned(),
            excluded: [].into(),
            notes: vec![],
            hashes_classes: false,
        }
    }

    #[test]
    fn a_batch_is_a_function_of_its_counter() {
        let set = set();
        let augmentation = Augmentation { flip: true, shift: 1 };
        let feed = || Feed::new(&set, (9, 4), augmentation, 1000);
        let mut one = feed();
        let batches: Vec<Batch> = (0..5).map(|k| one.batch(4 * k)).collect();
        for (k, batch) in batches.iter().enumerate() {
            assert_eq!(feed().batch(4 * k as u64), *batch);
        }
        // Nor does an image depend on where batches begin.
        let shifted = Feed::new(&set, (9, 2), augmentation, 1000).batch(6);
        assert_eq!(shifted.noise, batches[1].noise[2 * 16..]);
        assert_eq!(shifted.timesteps, batches[1].timesteps[2..]);
        assert_eq!(shifted.images, batches[1].images[2 * 16..]);
        assert_ne!(Feed::new(&set, (8, 4), augmentation, 1000).batch(0).noise, batches[0].noise);
    }

    #[test]
    fn images_are_mirrored_and_moved_and_keep_their_class() {
        let set = set();
        let augmentation = Augmentation { flip: true, shift: 1 };
        let batch = Feed::new(&set, (1, 60), augmentation, 0).batch(0);
        assert!(batch.timesteps.is_empty() && batch.noise.is_empty());
        let (mut mirrored, mut moved) = (0, 0);
        for (image, class) in batch.images.chunks(16).zip(&batch.classes) {
            let original = set.images.index_axis(Axis(0), usize::try_from(*class).unwrap());
            let of = |mirror: bool, rows: isize, columns: isize| -> Vec<u8> {
                let at = |i: usize, by: isize| i.checked_add_signed(by).filter(|&i| i < 4);
                let pixel = |i: usize| {
                    let column = if mirror { 3 - i % 4 } else { i % 4 };
                    let place = at(i / 4, rows).zip(at(column, columns));
                    place.map_or(0, |(row, column)| original[[0, row, column]])
                };
                (0..16).map(pixel).collect()
            };
            let ways: Vec<(bool, isize, isize)> = [false, true]
                .into_iter()
                .flat_map(|m| (-1..=1).flat_map(move |r| (-1..=1).map(move |c| (m, r, c))))
                .filter(|&(m, r, c)| of(m, r, c) == image)
                .collect();
            let [way] = ways[..] else { panic!("{ways:?} of class {class}: {image:?}") };
            mirrored += usize::from(way.0);
            moved += usize::from(way.1 != 0 || way.2 != 0);
        }
        assert!((20..=40).contains(&mirrored), "{mirrored} of 60 are mirrored");
        assert!(moved > 45, "{moved} of 60 are moved, where eight of nine should be");
    }

    #[test]
    fn parts_are_what_the_feed_gives_for_their_images() {
        let set = set();
        let augmentation = Augmentation { flip: true, shift: 1 };
        let feed = |n| Feed::new(&set, (9, n), augmentation, 1000);
        let parts = feed(5).batch(10).parts(2);
        assert_eq!(parts, [feed(2).batch(10), feed(3).batch(12)]);
        // Never an empty one; nor is anything missed that a batch has not.
        let parts = Feed::new(&set, (9, 3), augmentation, 0).batch(0).parts(8);
        assert_eq!(parts, [0, 1, 2].map(|k| Feed::new(&set, (9, 1), augmentation, 0).batch(k)));
    }

    #[test]
    fn timesteps_are_uniform() {
        let set = set();
        let batch = Feed::new(&set, (0, 10_000), Augmentation::default(), 10).batch(0);
        for t in 0..10 {
            let count = batch.timesteps.iter().filter(|&&drawn| drawn == t).count() as f64;
            // Four standard errors of a tenth of 10,000.
            assert!((count - 1000.0).abs() < 4.0 * 900_f64.sqrt(), "{count} timesteps are {t}");
        }
    }
}
