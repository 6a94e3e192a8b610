//! The order in which images are seen.

use rand::seq::SliceRandom;

use crate::core::{Draw, generator};

const ORDER: Draw = Draw::Training { sub: 0 };

/// The images of a set in the order of training: each pass over them is a permutation of its own,
/// and a pure function of (seed, pass).
#[derive(Clone, Debug)]
pub struct Order {
    seed: u64,
    pass: Option<u64>,
    permutation: Vec<u32>,
}

impl Order {
    /// The order of `n` images.
    ///
    /// # Panics
    /// If there are no images, or more than `u32` counts.
    pub fn new(seed: u64, n: usize) -> Self {
        assert!(n > 0, "an order of no images");
        let n = u32::try_from(n).expect("invariant: images that fit in memory are fewer than 2^32");
        Self { seed, pass: None, permutation: (0..n).collect() }
    }

    /// The position in the set of the image that is seen `counter`-th, counted from 0.
    pub fn position(&mut self, counter: u64) -> usize {
        let n = self.permutation.len() as u64;
        let pass = counter / n;
        if self.pass != Some(pass) {
            // Shuffled from the identity, not from the last pass: no pass depends on another.
            for (place, index) in self.permutation.iter_mut().zip(0..) {
                *place = index;
            }
            self.permutation.shuffle(&mut generator(self.seed, pass, ORDER));
            self.pass = Some(pass);
        }
        #[allow(clippy::cast_possible_truncation)] // a remainder of a usize
        let place = (counter % n) as usize;
        self.permutation[place] as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pass_is_a_permutation_and_another_one() {
        let mut order = Order::new(3, 50);
        let pass = |order: &mut Order, pass: u64| -> Vec<usize> {
            (0..50).map(|i| order.position(50 * pass + i)).collect()
        };
        let (first, second) = (pass(&mut order, 0), pass(&mut order, 1));
        assert_ne!(first, second);
        for seen in [&first, &second] {
            let mut sorted = seen.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..50).collect::<Vec<_>>());
        }
        // Whatever was asked before, and wherever a training goes on.
        assert_eq!(pass(&mut order, 0), first);
        assert_eq!(Order::new(3, 50).position(71), second[21]);
        assert_ne!(pass(&mut Order::new(4, 50), 0), first);
    }
}
