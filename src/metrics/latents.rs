//! What a single latent looks like, and how far an image is from another.
//!
//! A good encoding is a draw of the noise that a sampler starts from. A low reconstruction error
//! does not show that: a latent with too small a spread may decode to its image and still not look like noise.

use ndarray::{ArrayView3, Zip, s};

use crate::metrics::measure::{Best, Measure, Of};

/// The mean of a latent's elements.
pub static LATENT_MEAN: Measure = Measure {
    name: "latent-mean",
    task: "reconstruct",
    of: Of::MEAN,
    best: Best::Right,
    about: "mean of a latent's elements; noise has 0",
    unit: "mean of a latent's values",
};

/// Their standard deviation.
pub static LATENT_STD: Measure = Measure {
    name: "latent-std",
    task: "reconstruct",
    of: Of::MEAN,
    best: Best::Right,
    about: "their standard deviation; noise has 1",
    unit: "standard deviation of a latent's values",
};

/// Their excess kurtosis.
pub static LATENT_KURTOSIS: Measure = Measure {
    name: "latent-kurtosis",
    task: "reconstruct",
    of: Of::MEAN,
    best: Best::Right,
    about: "their excess kurtosis; noise has 0",
    unit: "excess kurtosis of a latent's values",
};

/// The correlation of horizontal neighbours in a latent.
pub static LATENT_HORIZONTAL: Measure = Measure {
    name: "latent-horizontal",
    task: "reconstruct",
    of: Of::MEAN,
    best: Best::Right,
    about: "correlation of horizontal neighbours in a latent; noise has 0",
    unit: "correlation of horizontal neighbours in a latent",
};

/// The correlation of vertical neighbours.
pub static LATENT_VERTICAL: Measure = Measure {
    name: "latent-vertical",
    task: "reconstruct",
    of: Of::MEAN,
    best: Best::Right,
    about: "correlation of vertical neighbours in a latent; noise has 0",
    unit: "correlation of vertical neighbours in a latent",
};

/// A latent's norm divided by the square root of its dimension.
pub static LATENT_NORM: Measure = Measure {
    name: "latent-norm",
    task: "reconstruct",
    of: Of::MEAN,
    best: Best::Right,
    about: "norm of a latent divided by the square root of its dimension; noise has 1",
    unit: "norm of a latent over the root of its dimension",
};

/// A reconstruction's mean squared error per dimension, of values in [0, 1].
pub static MSE: Measure = Measure {
    name: "mse",
    task: "reconstruct",
    of: Of::MEAN,
    best: Best::Low,
    about: "mean squared error of a reconstruction, values in [0, 1]",
    unit: "mean squared error per value, of values in [0, 1]",
};

/// The same of values in [-1, 1].
pub static MSE_RAW: Measure = Measure {
    name: "mse-raw",
    task: "reconstruct",
    of: Of::MEAN,
    best: Best::Low,
    about: "the same, values in [-1, 1]",
    unit: "mean squared error per value, of values in [-1, 1]",
};

/// The root mean square difference of a latent from the noise that its image was made of.
pub static LATENT_ERROR: Measure = Measure {
    name: "latent-error",
    task: "reconstruct",
    of: Of::MEAN,
    best: Best::Low,
    about: "root mean square difference of a latent from the noise its image was made of",
    unit: "root mean square difference from the true noise, per value",
};

/// The numbers of one latent, with their values for a draw of N(0, I) with d elements.
///
/// A number is NaN where it is not defined: a correlation in images one pixel wide, and everything but
/// the mean and the norm of a constant latent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatentStatistics {
    /// The mean of the elements: 0, with a spread of 1/sqrt(d).
    pub mean: f64,
    /// Their standard deviation about their own mean, $\sqrt{m_2}$: 1, +- 1/sqrt(2 d).
    pub std: f64,
    /// $m_4/m_2^2 - 3$: 0, +- sqrt(24/d).
    pub kurtosis: f64,
    /// Pearson's correlation of each pixel with its right neighbour, over all channels: 0, with a
    /// spread of one over the root of the number of pairs.
    pub horizontal: f64,
    /// The same of each pixel with the one below.
    pub vertical: f64,
    /// $\lVert z\rVert/\sqrt d$: 1, +- 1/sqrt(2 d).
    pub norm: f64,
}

impl LatentStatistics {
    /// The numbers' names, in the order of [`LatentStatistics::values`].
    pub const NAMES: [&str; 6] = ["mean", "std", "kurtosis", "horizontal", "vertical", "norm"];

    /// Describes one latent.
    ///
    /// - Shape: `[C, H, W]`.
    pub fn of(z: ArrayView3<'_, f64>) -> Self {
        let d = z.len() as f64;
        let mean = z.sum() / d;
        let moment = |power: i32| z.iter().map(|v| (v - mean).powi(power)).sum::<f64>() / d;
        let m2 = moment(2);
        Self {
            mean,
            std: m2.sqrt(),
            kurtosis: moment(4) / (m2 * m2) - 3.0,
            horizontal: correlation(z.slice(s![.., .., ..-1]), z.slice(s![.., .., 1..])),
            vertical: correlation(z.slice(s![.., ..-1, ..]), z.slice(s![.., 1.., ..])),
            norm: (z.iter().map(|v| v * v).sum::<f64>() / d).sqrt(),
        }
    }

    /// The numbers as a row.
    pub fn values(&self) -> [f64; 6] {
        let Self { mean, std, kurtosis, horizontal, vertical, norm } = *self;
        [mean, std, kurtosis, horizontal, vertical, norm]
    }
}

/// Pearson's correlation of the pairs of two arrays of one shape.
fn correlation(a: ArrayView3<'_, f64>, b: ArrayView3<'_, f64>) -> f64 {
    let n = a.len() as f64;
    let (mean_a, mean_b) = (a.sum() / n, b.sum() / n);
    let [mut aa, mut bb, mut ab] = [0.0; 3];
    Zip::from(a).and(b).for_each(|a, b| {
        let (a, b) = (a - mean_a, b - mean_b);
        aa += a * a;
        bb += b * b;
        ab += a * b;
    });
    ab / (aa * bb).sqrt()
}

/// The mean squared difference of two images, per dimension, in the units of their values.
///
/// For values in [-1, 1]; the same images in [0, 1] have a quarter of it.
///
/// - Shape: `[C, H, W]` both.
///
/// # Panics
/// If the shapes differ.
pub fn mean_squared_error(a: ArrayView3<'_, f64>, b: ArrayView3<'_, f64>) -> f64 {
    let mut sum = 0.0;
    Zip::from(a).and(b).for_each(|a, b| sum += (a - b).powi(2));
    sum / a.len() as f64
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;
    use ndarray::{Array3, Array4, Axis};

    use super::*;
    use crate::core::{Draw, KeyedNoise};

    #[test]
    fn a_latent_of_few_numbers_is_described_by_hand() {
        // Elements 1, 2, 3, 6: deviations -2, -1, 0, 3 from 3.
        let z = Array3::from_shape_vec((1, 2, 2), vec![1.0, 2.0, 3.0, 6.0]).unwrap();
        let found = LatentStatistics::of(z.view());
        assert_abs_diff_eq!(found.mean, 3.0);
        assert_abs_diff_eq!(found.std, 3.5_f64.sqrt(), epsilon = 1e-15);
        assert_abs_diff_eq!(
            found.kurtosis,
            (16.0 + 1.0 + 81.0) / 4.0 / 12.25 - 3.0,
            epsilon = 1e-14
        );
        // Two pairs lie on a line.
        assert_abs_diff_eq!(found.horizontal, 1.0, epsilon = 1e-15);
        assert_abs_diff_eq!(found.vertical, 1.0, epsilon = 1e-15);
        assert_abs_diff_eq!(found.norm, (50.0_f64 / 4.0).sqrt(), epsilon = 1e-15);
    }

    #[test]
    fn directions_are_told_apart_and_channels_are_not_neighbours() {
        // Rows of one sign each: equal to the right, opposite below.
        let rows = |flip: bool| {
            Array3::from_shape_fn((2, 4, 4), move |(c, y, _)| {
                if (y + usize::from(flip) * c) % 2 == 0 { 1.0 } else { -1.0 }
            })
        };
        for flip in [false, true] {
            let found = LatentStatistics::of(rows(flip).view());
            assert_abs_diff_eq!(found.horizontal, 1.0, epsilon = 1e-15);
            assert_abs_diff_eq!(found.vertical, -1.0, epsilon = 1e-15);
            assert_abs_diff_eq!(found.kurtosis, -2.0, epsilon = 1e-15);
        }
    }

    #[test]
    fn draws_of_the_noise_have_the_spread_that_is_stated() {
        let shape = (200, 3, 16, 16);
        let mut z = Array4::<f64>::zeros(shape);
        let noise = KeyedNoise { seed: 5, first: 0 };
        noise.fill(z.as_slice_mut().unwrap(), shape.0, Draw::Initial, |z| z);
        let d = 768.0_f64;
        let pairs = 3.0 * 16.0 * 15.0_f64;
        let half = (0.5 / d).sqrt();
        let expected = [
            (0.0, 1.0 / d.sqrt()),
            (1.0, half),
            (0.0, (24.0 / d).sqrt()),
            (0.0, 1.0 / pairs.sqrt()),
            (0.0, 1.0 / pairs.sqrt()),
            (1.0, half),
        ];
        let rows: Vec<_> = z.axis_iter(Axis(0)).map(|z| LatentStatistics::of(z).values()).collect();
        for (column, (centre, spread)) in expected.into_iter().enumerate() {
            let n = rows.len() as f64;
            let mean = rows.iter().map(|row| row[column]).sum::<f64>() / n;
            let variance = rows.iter().map(|row| (row[column] - mean).powi(2)).sum::<f64>() / n;
            let name = LatentStatistics::NAMES[column];
            // Four standard errors, and a bias of order 1/d.
            assert!((mean - centre).abs() < 4.0 * spread / n.sqrt() + 6.0 / d, "{name}: {mean}");
            let ratio = variance.sqrt() / spread;
            assert!((0.8..1.2).contains(&ratio), "{name}: {ratio}");
        }
    }

    #[test]
    fn what_is_not_defined_is_not_a_number() {
        let narrow = Array3::from_shape_vec((1, 3, 1), vec![1.0, -2.0, 0.5]).unwrap();
        let found = LatentStatistics::of(narrow.view());
        assert!(found.horizontal.is_nan() && found.vertical.is_finite());
        assert!(LatentStatistics::of(Array3::zeros((1, 2, 2)).view()).kurtosis.is_nan());
    }

    #[test]
    fn an_error_on_the_unit_range_is_a_quarter() {
        let a = Array3::from_shape_fn((3, 2, 2), |(c, y, x)| 0.1 * (c + 2 * y + x) as f64 - 0.5);
        let b = a.mapv(|v| 0.8 * v + 0.1);
        let unit = |x: &Array3<f64>| x.mapv(|v| 0.5 * (v + 1.0));
        let error = mean_squared_error(a.view(), b.view());
        let quarter = mean_squared_error(unit(&a).view(), unit(&b).view());
        assert_abs_diff_eq!(quarter, 0.25 * error, epsilon = 1e-16);
        let by_hand = a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / 12.0;
        assert_abs_diff_eq!(error, by_hand, epsilon = 1e-16);
    }
}
