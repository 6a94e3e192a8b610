//! How far two sets of as many samples are apart in mean and in covariance.
//!
//! Both are squared and per dimension, on the scale of the squared
//! [`sliced_wasserstein`](crate::metrics::sliced_wasserstein): for isotropic Gaussians the first is
//! $(\mu_x - \mu_y)^2$ and the second $(s_x^2 - s_y^2)^2$. They say which moment a sampler gets
//! wrong; equal moments do not make equal distributions. The blocks are left out of both sets, so
//! that the interval is that of both sides' chance.
//!
//! The table of the module of [`sliced_wasserstein`](crate::metrics::sliced_wasserstein) says how often it
//! holds the truth.

use ndarray::{Array1, Array2, ArrayView2, Axis, Slice};

use crate::metrics::{
    Jackknife, Moments, Result,
    measure::{Best, Measure, Of},
    sides::Sides,
};

/// The squared difference of the samples' mean from that of exact draws, per dimension.
pub static MEAN_ERROR: Measure = Measure {
    name: "mean-error",
    task: "sample",
    of: Of::Draws(mean_error),
    best: Best::Low,
    about: "squared difference of the mean from that of exact draws, per dimension",
    unit: "squared difference of means from exact draws, per value",
};

/// The squared difference of the samples' covariance from that of exact draws, per dimension.
pub static COVARIANCE_ERROR: Measure = Measure {
    name: "covariance-error",
    task: "sample",
    of: Of::Draws(covariance_error),
    best: Best::Low,
    about: "squared difference of the covariance from that of exact draws, per dimension",
    unit: "squared difference of covariances from exact draws, per value",
};

/// The squared difference of two sets' means per dimension, and without each of B blocks of both.
///
/// $$\frac1D \lVert m_x - m_y \rVert^2$$
///
/// The plug-in value is biased by $\operatorname{tr}(\Sigma_x + \Sigma_y) / (N D)$, which the
/// corrected one is free of if the blocks are equally large.
///
/// - Shape: `x` and `y` `[N, D]`.
/// - Units: those of the samples, squared.
///
/// # Errors
/// Different numbers of samples or of columns, blocks that cannot be cut, or a value that is not
/// finite.
pub fn mean_error(
    x: ArrayView2<'_, f64>,
    y: ArrayView2<'_, f64>,
    blocks: usize,
) -> Result<Jackknife> {
    let sides = Sides::new(x, y, blocks)?;
    // The mean of differences is the difference of means, and cancels less.
    let difference = &x - &y;
    let sum = |b| -> Array1<f64> {
        difference.slice_axis(Axis(0), Slice::from(sides.rows(b))).sum_axis(Axis(0))
    };
    let sums: Vec<Array1<f64>> = (0..blocks).map(sum).collect();
    let mut total: Array1<f64> = Array1::zeros(x.ncols());
    for sum in &sums {
        total += sum;
    }
    let square = |sum: &Array1<f64>, n: usize| {
        let n = n as f64;
        sum.iter().map(|x| (x / n).powi(2)).sum::<f64>() / sum.len() as f64
    };
    let without = |(b, sum)| square(&(&total - sum), sides.n() - sides.rows(b).len());
    Ok(Jackknife {
        value: square(&total, sides.n()),
        leave_out: sums.iter().enumerate().map(without).collect(),
    })
}

/// The squared difference of two sets' covariances per dimension, and without each of B blocks of
/// both.
///
/// $$\frac1D \lVert \Sigma_x - \Sigma_y \rVert_F^2$$
///
/// with covariances divided by N - 1.
///
/// - Shape: `x` and `y` `[N, D]`.
/// - Units: those of the samples, to the fourth.
/// - Cost: the moments twice, N D^2; a few matrices of D x D are held, whatever B is.
///
/// # Errors
/// As [`mean_error`], and fewer than two samples without a block.
pub fn covariance_error(
    x: ArrayView2<'_, f64>,
    y: ArrayView2<'_, f64>,
    blocks: usize,
) -> Result<Jackknife> {
    let sides = Sides::new(x, y, blocks)?;
    let part = |set: ArrayView2<'_, f64>, b| {
        Moments::of(set.slice_axis(Axis(0), Slice::from(sides.rows(b))))
    };
    let mut all = [x.view(), y.view()].map(|set| Moments::new(set.ncols()));
    for b in 0..blocks {
        all[0].merge(&part(x, b)?)?;
        all[1].merge(&part(y, b)?)?;
    }
    let square = |x: &Moments, y: &Moments| -> Result<f64> {
        let difference: Array2<f64> = x.covariance()? - y.covariance()?;
        Ok(difference.iter().map(|x| x * x).sum::<f64>() / difference.nrows() as f64)
    };
    let without = |b| square(&all[0].without(&part(x, b)?)?, &all[1].without(&part(y, b)?)?);
    Ok(Jackknife {
        value: square(&all[0], &all[1])?,
        leave_out: (0..blocks).map(without).collect::<Result<_>>()?,
    })
}
