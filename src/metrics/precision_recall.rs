//! Precision and recall: which share of one set lies where the other set is.
//!
//! Where a set is, is estimated by balls about its samples, each as large as the distance to the
//! k-th nearest *other* sample of that set. **Precision** is the share of generated samples inside
//! the balls of the reference, **recall** the share of the reference inside the balls of the samples:
//! a sampler that leaves out part of the data loses recall, one that makes what is not data loses
//! precision. A Fréchet distance does not tell the two apart.
//!
//! Rules that decide numbers: k = [`NEIGHBOURS`] = 3, Euclidean distances, as published. A distance
//! equal to the radius is inside. Copies of a sample are samples: where more than k are equal the
//! radius is zero, and one more copy is inside. Both sides have the same number of samples N, because
//! balls shrink as a set grows: **values of different N cannot be compared**, nor can there be a
//! value for infinite N. The jackknife is therefore used only for its standard error, with a block left
//! out of both sets: the left-out values are shifted so that their mean is the value, and
//! [`Jackknife::corrected`] is the value itself. The interval is for the expected value at N, over
//! the draw of both sides; it may reach beyond 0 and 1. Differences of cells are paired as usual.
//!
//! **The interval is wider than necessary.** Measured on Gaussians in 8 dimensions, N = 256 on each side:
//! the second set has 0.8 of the first's standard deviations and a mean 0.3 away in every coordinate;
//! B = 32, 1000 repetitions. "Expected" is the mean over all repetitions, `error` the jackknife's mean
//! standard error over the scatter of the values, `binomial` the same of sqrt(p (1 - p) / N), which
//! counts samples as if the balls were given. The paired difference is to a third Gaussian, of 0.9 and
//! 0.15, made of the same noise. `shares_table` prints more.
//!
//! | share | expected | coverage % of the 95 % interval | error | binomial | paired coverage % |
//! |---|---|---|---|---|---|
//! | precision | 0.948 | 99.6 | 1.82 | 0.80 | 100.0 |
//! | recall | 0.604 | 99.5 | 1.46 | 0.75 | 100.0 |
//!
//! So two values whose intervals differ really differ. A binomial interval would claim too much.

use ndarray::{Array2, ArrayView1, ArrayView2, Axis};
use rayon::prelude::*;

use crate::metrics::{
    Error, Jackknife, Result,
    measure::{Best, Measure, Of},
    sides::Sides,
};

/// The share of samples inside the neighbourhoods of the data.
pub static PRECISION: Measure = Measure {
    name: "precision",
    task: "sample",
    of: Of::Features(precision),
    best: Best::High,
    about: "share of samples that lie among the data, k = 3, higher is better",
    unit: "share of samples among the data, higher is better",
};

/// The share of the data inside the neighbourhoods of the samples.
pub static RECALL: Measure = Measure {
    name: "recall",
    task: "sample",
    of: Of::Features(recall),
    best: Best::High,
    about: "share of the data covered by samples, k = 3, higher is better",
    unit: "share of the data among samples, higher is better",
};

/// k: a ball reaches to the k-th nearest other sample of its set.
pub const NEIGHBOURS: usize = 3;

/// The share of samples that lie inside the balls of the reference, with its jackknife.
///
/// $$\frac1N\sum_j \mathbb 1\bigl[\exists i: \lVert x_j - y_i \rVert \le
/// \lVert y_i - \mathrm{NN}_k(y_i) \rVert\bigr]$$
///
/// - Shape: `samples` and `reference` `[N, D]`.
/// - Units: 0 to 1; higher is better.
/// - Cost: 2 N^2 D.
///
/// # Errors
/// Different numbers of samples or of columns, blocks that cannot be cut, fewer than k + 1 samples
/// without a block, or a value that is not finite.
///
/// # References
/// Kynkäänniemi, Karras, Laine, Lehtinen, Aila, *Improved precision and recall metric for assessing
/// generative models*, NeurIPS 2019, eqs. (1) and (2). arXiv:1904.06991.
pub fn precision<A: Copy + Into<f64>>(
    samples: ArrayView2<'_, A>,
    reference: ArrayView2<'_, A>,
    blocks: usize,
) -> Result<Jackknife> {
    share_inside(&samples.mapv(Into::into), &reference.mapv(Into::into), blocks)
}

/// The share of the reference that lies inside the balls of the samples: [`precision`] with the two
/// exchanged.
///
/// # Errors
/// As [`precision`].
///
/// # References
/// As [`precision`], eq. (2).
pub fn recall<A: Copy + Into<f64>>(
    samples: ArrayView2<'_, A>,
    reference: ArrayView2<'_, A>,
    blocks: usize,
) -> Result<Jackknife> {
    share_inside(&reference.mapv(Into::into), &samples.mapv(Into::into), blocks)
}

/// A ball's squared radius, and what it grows to without the blocks of its nearest samples.
struct Ball {
    radius: f64,
    without: Vec<(usize, f64)>,
}

/// Where a point is: inside some ball, and inside some ball once block b is left out.
struct Inside {
    all: bool,
    without: Vec<bool>,
}

fn share_inside(points: &Array2<f64>, centres: &Array2<f64>, blocks: usize) -> Result<Jackknife> {
    let sides = Sides::new(points.view(), centres.view(), blocks)?;
    let n = sides.n();
    let (left, needed) = (n - sides.largest, NEIGHBOURS + 1);
    if left < needed {
        return Err(Error::TooFewSamples { n: left, needed });
    }
    let balls: Vec<Ball> = (0..n).into_par_iter().map(|i| ball(centres, i, &sides)).collect();
    let inside: Vec<Inside> = points
        .axis_iter(Axis(0))
        .into_par_iter()
        .map(|point| find(point, centres, &balls, &sides, blocks))
        .collect();
    let share = |inside: usize, of: usize| inside as f64 / of as f64;
    let value = share(inside.iter().filter(|inside| inside.all).count(), n);
    let without = |b: usize| {
        let rows = sides.rows(b);
        let rest = inside.iter().enumerate().filter(|(row, _)| !rows.contains(row));
        share(rest.filter(|(_, inside)| inside.without[b]).count(), n - rows.len())
    };
    let leave_out: Vec<f64> = (0..blocks).map(without).collect();
    let shift = value - leave_out.iter().sum::<f64>() / blocks as f64;
    Ok(Jackknife { value, leave_out: leave_out.into_iter().map(|out| out + shift).collect() })
}

fn ball(centres: &Array2<f64>, i: usize, sides: &Sides) -> Ball {
    let centre = centres.row(i);
    let mut others: Vec<(f64, usize)> = (0..sides.n())
        .filter(|&j| j != i)
        .map(|j| (square(centre, centres.row(j)), sides.block_of[j]))
        .collect();
    // Of so many nearest, k are outside any one block.
    let enough = (NEIGHBOURS + sides.largest).min(others.len());
    others.select_nth_unstable_by(enough - 1, |a, b| a.0.total_cmp(&b.0));
    others.truncate(enough);
    others.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let radius = others[NEIGHBOURS - 1].0;
    let mut near: Vec<usize> = others[..NEIGHBOURS].iter().map(|(_, block)| *block).collect();
    near.sort_unstable();
    near.dedup();
    // Without its own block there is no such ball.
    near.retain(|block| *block != sides.block_of[i]);
    let grown = |block: usize| {
        let rest = others.iter().filter(|(_, of)| *of != block).map(|(square, _)| *square);
        (block, rest.take(NEIGHBOURS).last().unwrap_or(radius))
    };
    Ball { radius, without: near.into_iter().map(grown).collect() }
}

fn find(
    point: ArrayView1<'_, f64>,
    centres: &Array2<f64>,
    balls: &[Ball],
    sides: &Sides,
    blocks: usize,
) -> Inside {
    let mut inside = Inside { all: false, without: vec![false; blocks] };
    for (i, ball) in balls.iter().enumerate() {
        let distance = square(point, centres.row(i));
        if distance <= ball.radius {
            // Balls only grow when something is left out, unless it is their own centre.
            inside.all = true;
            for (b, without) in inside.without.iter_mut().enumerate() {
                *without |= b != sides.block_of[i];
            }
            if inside.without.iter().all(|without| *without) {
                break;
            }
        }
        for (b, _) in ball.without.iter().filter(|(_, radius)| distance <= *radius) {
            inside.without[*b] = true;
        }
    }
    inside
}

/// The squared distance, exactly zero for equal rows.
fn square(x: ArrayView1<'_, f64>, y: ArrayView1<'_, f64>) -> f64 {
    match (x.to_slice(), y.to_slice()) {
        // Four sums side by side: one would wait for itself at every term.
        (Some(x), Some(y)) => {
            let (x4, y4) = (x.chunks_exact(4), y.chunks_exact(4));
            let tail: f64 =
                x4.remainder().iter().zip(y4.remainder()).map(|(x, y)| (x - y).powi(2)).sum();
            let mut sums = [0.0; 4];
            for (x, y) in x4.zip(y4) {
                for (sum, (x, y)) in sums.iter_mut().zip(x.iter().zip(y)) {
                    *sum += (x - y).powi(2);
                }
            }
            sums.iter().sum::<f64>() + tail
        }
        _ => x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum(),
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use ndarray::{Axis, array, concatenate, s};
    use ndarray_rand::rand_distr::{Distribution, StandardNormal};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::metrics::DEFAULT_BLOCKS;

    fn normals(n: usize, d: usize, rng: &mut ChaCha8Rng) -> Array2<f64> {
        Array2::from_shape_simple_fn((n, d), || StandardNormal.sample(rng))
    }

    /// The definition, pair by pair.
    fn naive(points: &Array2<f64>, centres: &Array2<f64>) -> f64 {
        let apart = |x: ArrayView1<'_, f64>, y: ArrayView1<'_, f64>| {
            x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum::<f64>()
        };
        let radius = |i: usize| {
            let others = (0..centres.nrows()).filter(|&j| j != i);
            let mut all: Vec<f64> = others.map(|j| apart(centres.row(i), centres.row(j))).collect();
            all.sort_unstable_by(f64::total_cmp);
            all[NEIGHBOURS - 1]
        };
        let radii: Vec<f64> = (0..centres.nrows()).map(radius).collect();
        let is_inside = |point: &ArrayView1<'_, f64>| {
            centres.outer_iter().zip(&radii).any(|(centre, r)| apart(*point, centre) <= *r)
        };
        points.outer_iter().filter(is_inside).count() as f64 / points.nrows() as f64
    }

    #[test]
    fn the_shares_are_those_of_the_definition_with_and_without_each_block() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        for (n, d, blocks) in [(41, 2, 5), (60, 5, 7), (30, 3, 30)] {
            let x = normals(n, d, &mut rng) * 0.8 + 0.3;
            let y = normals(n, d, &mut rng);
            for (found, points, centres) in [
                (precision(x.view(), y.view(), blocks).unwrap(), &x, &y),
                (recall(x.view(), y.view(), blocks).unwrap(), &y, &x),
            ] {
                assert_relative_eq!(found.value, naive(points, centres));
                let without = |b: usize| {
                    let (first, end) = (b * n / blocks, (b + 1) * n / blocks);
                    let rest = |set: &Array2<f64>| {
                        concatenate![Axis(0), set.slice(s![..first, ..]), set.slice(s![end.., ..])]
                    };
                    naive(&rest(points), &rest(centres))
                };
                let expected: Vec<f64> = (0..blocks).map(without).collect();
                // Shifted as a whole, so that their mean is the value.
                let shift = found.leave_out[0] - expected[0];
                for (found, expected) in found.leave_out.iter().zip(&expected) {
                    assert_relative_eq!(*found, expected + shift, epsilon = 1e-12);
                }
                assert_relative_eq!(found.corrected(), found.value, epsilon = 1e-12);
            }
        }
    }

    #[test]
    fn a_distance_equal_to_the_radius_is_inside_and_copies_are_samples() {
        // The ball about 0 reaches to its third neighbour, 3; all others reach further.
        let y = array![[0.0], [1.0], [2.0], [3.0], [100.0], [200.0]];
        let x = array![[-3.0], [-3.5], [2.5], [0.0], [0.0], [0.0]];
        let found = precision(x.view(), y.view(), 6).unwrap();
        assert_relative_eq!(found.value, 5.0 / 6.0);
        // Four copies have a ball of radius zero, with room for a fifth and nothing else.
        let copies = array![[7.0], [7.0], [7.0], [7.0], [900.0], [7.0]];
        let points = array![[7.0], [7.0 + 1e-9], [-1e9], [7.0], [-1e9], [-1e9]];
        let found = precision(points.view(), copies.view(), 6).unwrap();
        // The ball about 900 reaches to 7 and no lower.
        assert_relative_eq!(found.value, 3.0 / 6.0);
        let alone = array![[7.0], [7.0], [7.0], [7.0], [7.0], [7.0]];
        let found = precision(points.view(), alone.view(), 6).unwrap();
        assert_relative_eq!(found.value, 2.0 / 6.0);
    }

    #[test]
    fn a_set_lies_where_it_is_and_not_where_another_is() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let x = normals(50, 3, &mut rng);
        assert_relative_eq!(precision(x.view(), x.view(), 5).unwrap().value, 1.0);
        let far = &x + 100.0;
        assert_relative_eq!(recall(far.view(), x.view(), 5).unwrap().value, 0.0);
        // Half of the data: all of it is right, and the other half is missing.
        let half = &x + Array2::from_shape_fn((50, 1), |(i, _)| (i % 2) as f64 * 100.0);
        let first = concatenate![Axis(0), x.slice(s![..;2, ..]), x.slice(s![..;2, ..])];
        assert_relative_eq!(precision(first.view(), half.view(), 5).unwrap().value, 1.0);
        assert!(recall(first.view(), half.view(), 5).unwrap().value <= 0.5);
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let x = Array2::from_shape_fn((8, 2), |(i, j)| ((i * 3 + j * 5) as f64).sin());
        let y = x.slice(s![..7, ..]);
        assert_eq!(precision(x.view(), y, 4), Err(Error::UnequalSets { left: 8, right: 7 }));
        let four = x.slice(s![..4, ..]);
        assert_eq!(recall(four, four, 4), Err(Error::TooFewSamples { n: 3, needed: 4 }));
    }

    /// Over repetitions: the mean, and shares of intervals that held it and the paired difference;
    /// errors by jackknife and by count over the scatter.
    struct Coverage {
        expected: f64,
        single: f64,
        paired: f64,
        errors: [f64; 2],
    }

    fn coverage(d: usize, n: usize, repeats: usize) -> [Coverage; 2] {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let mut found: [Vec<[Jackknife; 2]>; 2] = [vec![], vec![]];
        for _ in 0..repeats {
            let (z, y) = (normals(n, d, &mut rng), normals(n, d, &mut rng));
            let [a, b] = [(0.8, 0.3), (0.9, 0.15)].map(|(scale, shift)| &z * scale + shift);
            let of = |share: fn(_, _, usize) -> Result<Jackknife>| {
                [&a, &b].map(|x| share(x.view(), y.view(), DEFAULT_BLOCKS).unwrap())
            };
            found[0].push(of(precision::<f64>));
            found[1].push(of(recall::<f64>));
        }
        let count = repeats as f64;
        found.map(|all| {
            let difference = |[a, b]: &[Jackknife; 2]| b.minus(a).unwrap();
            let held = |values: &[Jackknife]| {
                let mean = values.iter().map(|x| x.value).sum::<f64>() / count;
                let holds = |x: &&Jackknife| {
                    let (low, high) = x.interval(0.95);
                    low <= mean && mean <= high
                };
                (mean, values.iter().filter(holds).count() as f64 / count)
            };
            let singles: Vec<Jackknife> = all.iter().map(|[a, _]| a.clone()).collect();
            let (expected, single) = held(&singles);
            let (_, paired) = held(&all.iter().map(difference).collect::<Vec<_>>());
            let scatter = singles.iter().map(|x| (x.value - expected).powi(2)).sum::<f64>();
            let scatter = (scatter / count).sqrt();
            let error = singles.iter().map(Jackknife::standard_error).sum::<f64>() / count;
            let binomial = (expected * (1.0 - expected) / n as f64).sqrt();
            Coverage { expected, single, paired, errors: [error / scatter, binomial / scatter] }
        })
    }

    #[test]
    fn intervals_hold_the_expected_value_at_n_and_more_often_than_they_say() {
        for Coverage { single, paired, .. } in coverage(4, 128, 300) {
            for held in [single, paired] {
                assert!(held >= 0.95, "coverage {held}");
            }
        }
    }

    /// The numbers of the module's documentation:
    /// `cargo test --release --lib shares_table -- --ignored --nocapture`.
    #[test]
    #[ignore = "prints the coverage table of more sizes"]
    fn shares_table() {
        for (d, n) in [(8, 256), (8, 1024), (64, 256), (64, 1024)] {
            for (name, of) in ["precision", "recall"].iter().zip(coverage(d, n, 1000)) {
                println!(
                    "//! | {name} | {d} | {n} | {:.3} | {:.1} | {:.2} | {:.2} | {:.1} |",
                    of.expected,
                    100.0 * of.single,
                    of.errors[0],
                    of.errors[1],
                    100.0 * of.paired
                );
            }
        }
    }
}
