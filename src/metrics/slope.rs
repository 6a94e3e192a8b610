//! The slope of a straight line through logarithms: an order of convergence as measured.

use crate::metrics::{Error, Jackknife, Result};

/// The slope of $\log y$ against $\log x$ by least squares, and without each block of samples.
///
/// $$p = \frac{\sum_i (\log x_i - \overline{\log x})(\log y_i - \overline{\log y})}
/// {\sum_i (\log x_i - \overline{\log x})^2}$$
///
/// An error that falls as $x^{-p}$ has slope $-p$. The interval only covers the
/// chance of the samples, not that the points may lie on no straight line.
///
/// # Errors
/// Fewer than two different x, values with different numbers of blocks, or one that is not
/// positive.
pub fn log_log_slope(points: &[(f64, &Jackknife)]) -> Result<Jackknife> {
    let n = points.len() as f64;
    let logs: Vec<f64> = points.iter().map(|(x, _)| x.ln()).collect();
    let mean = logs.iter().sum::<f64>() / n;
    let spread: f64 = logs.iter().map(|x| (x - mean).powi(2)).sum();
    if points.len() < 2 || spread <= 0.0 {
        return Err(Error::Slope { what: "at least two different places" });
    }
    let blocks = points[0].1.leave_out.len();
    if let Some((_, other)) = points.iter().find(|(_, y)| y.leave_out.len() != blocks) {
        return Err(Error::Unpaired { left: blocks, right: other.leave_out.len() });
    }
    let slope = |y: &dyn Fn(&Jackknife) -> f64| {
        let values: Vec<f64> = points.iter().map(|(_, jackknife)| y(jackknife)).collect();
        if values.iter().any(|value| *value <= 0.0 || !value.is_finite()) {
            return Err(Error::Slope { what: "positive values" });
        }
        // The mean of log y drops out of the sum.
        let along = logs.iter().zip(&values).map(|(x, y)| (x - mean) * y.ln()).sum::<f64>();
        Ok(along / spread)
    };
    let without = |b: usize| slope(&move |y: &Jackknife| y.leave_out[b]);
    Ok(Jackknife {
        value: slope(&|y| y.value)?,
        leave_out: (0..blocks).map(without).collect::<Result<_>>()?,
    })
}

/// How a curve bends on logarithmic axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Bend {
    /// c of $\log y = a + b \log x + c (\log x)^2$, by least squares.
    pub curvature: Jackknife,
    /// The slope $b + 2 c \log x$ at the smallest and at the largest x.
    pub ends: [f64; 2],
}

/// The curvature of $\log y$ over $\log x$ by least squares, and without each block of samples.
///
/// With $u = \log x - \overline{\log x}$, $s = \sum u^3 / \sum u^2$ and
/// $v = u^2 - \overline{u^2} - s u$, which is orthogonal to 1 and u,
///
/// $$c = \frac{\sum_i v_i \log y_i}{\sum_i v_i^2}.$$
///
/// A power law has none. As for a slope, the interval only covers the chance of the samples.
///
/// # Errors
/// Fewer than three different x, and what [`log_log_slope`] refuses.
pub fn log_log_bend(points: &[(f64, &Jackknife)]) -> Result<Bend> {
    let slope = log_log_slope(points)?.value;
    let n = points.len() as f64;
    let logs: Vec<f64> = points.iter().map(|(x, _)| x.ln()).collect();
    let mean = logs.iter().sum::<f64>() / n;
    let u: Vec<f64> = logs.iter().map(|x| x - mean).collect();
    let sum = |power: i32| u.iter().map(|u| u.powi(power)).sum::<f64>();
    let skew = sum(3) / sum(2);
    let v: Vec<f64> = u.iter().map(|u| u * u - sum(2) / n - skew * u).collect();
    let spread: f64 = v.iter().map(|v| v * v).sum();
    // Of two places, rounding leaves a v of its own size.
    if points.len() < 3 || spread <= 1e-12 * sum(2).powi(2) {
        return Err(Error::Slope { what: "at least three different places" });
    }
    // log_log_slope has seen that all values are positive.
    let curvature = |y: &dyn Fn(&Jackknife) -> f64| {
        v.iter().zip(points).map(|(v, (_, found))| v * y(found).ln()).sum::<f64>() / spread
    };
    let blocks = points[0].1.leave_out.len();
    let curvature = Jackknife {
        value: curvature(&|y| y.value),
        leave_out: (0..blocks).map(|b| curvature(&move |y| y.leave_out[b])).collect(),
    };
    let at = |u: f64| slope + curvature.value * (2.0 * u - skew);
    let ends = [
        u.iter().copied().fold(f64::INFINITY, f64::min),
        u.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    ];
    Ok(Bend { ends: ends.map(at), curvature })
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;

    fn power(scale: [f64; 3], exponent: f64) -> Vec<(f64, Jackknife)> {
        let at = |x: f64| {
            let [value, a, b] = scale.map(|c| c * x.powf(exponent));
            (x, Jackknife { value, leave_out: vec![a, b] })
        };
        [10.0, 20.0, 50.0].map(at).to_vec()
    }

    fn slope(points: &[(f64, Jackknife)]) -> Result<Jackknife> {
        log_log_slope(&points.iter().map(|(x, y)| (*x, y)).collect::<Vec<_>>())
    }

    #[test]
    fn a_power_law_has_its_exponent_for_slope_whatever_its_scale() {
        let fitted = slope(&power([3.0, 2.0, 5.0], -2.5)).unwrap();
        assert_abs_diff_eq!(fitted.value, -2.5, epsilon = 1e-12);
        for slope in fitted.leave_out {
            assert_abs_diff_eq!(slope, -2.5, epsilon = 1e-12);
        }
    }

    #[test]
    fn a_slope_is_that_of_least_squares() {
        // By hand: log x = 0, 1, 2 and log y = 0, 1, 3 give (0 * -1 + 1 * 0 + 3 * 1) / 2.
        let e = std::f64::consts::E;
        let at = |x: f64, y: f64| (x, Jackknife { value: y, leave_out: vec![] });
        let fitted = slope(&[at(1.0, 1.0), at(e, e), at(e * e, e.powi(3))]).unwrap();
        assert_abs_diff_eq!(fitted.value, 1.5, epsilon = 1e-12);
    }

    #[test]
    fn a_parabola_has_its_curvature_and_the_slopes_of_its_ends() {
        // log y = 0.5 - 2 log x + 0.25 (log x)^2, and a power law without either block.
        let at = |x: f64| {
            let u = x.ln();
            let value = (0.5 - 2.0 * u + 0.25 * u * u).exp();
            (x, Jackknife { value, leave_out: vec![x.powf(-2.0), 3.0 * x.powf(-1.0)] })
        };
        let points = [4.0, 10.0, 20.0, 90.0].map(at);
        let bend = log_log_bend(&points.iter().map(|(x, y)| (*x, y)).collect::<Vec<_>>()).unwrap();
        assert_abs_diff_eq!(bend.curvature.value, 0.25, epsilon = 1e-12);
        for curvature in bend.curvature.leave_out {
            assert_abs_diff_eq!(curvature, 0.0, epsilon = 1e-12);
        }
        for (found, x) in bend.ends.into_iter().zip([4.0_f64, 90.0]) {
            assert_abs_diff_eq!(found, -2.0 + 0.5 * x.ln(), epsilon = 1e-12);
        }
        let two: Vec<_> = [0, 1, 1].map(|i| (points[i].0, &points[i].1)).to_vec();
        assert!(log_log_bend(&two).is_err() && log_log_bend(&two[..2]).is_err());
    }

    #[test]
    fn what_has_no_slope_is_refused() {
        assert!(slope(&power([1.0; 3], 1.0)[..1]).is_err());
        assert!(slope(&power([1.0, -1.0, 1.0], 1.0)).is_err());
        let mut uneven = power([1.0; 3], 1.0);
        uneven[1].1.leave_out.pop();
        assert!(matches!(slope(&uneven), Err(Error::Unpaired { left: 2, right: 1 })));
        let same = [uneven[0].clone(), uneven[0].clone()];
        assert!(slope(&same).is_err());
    }
}
