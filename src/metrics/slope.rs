//! The slope of a straight line through logarithms: an order of convergence as measured.

use super::{Error, Jackknife, Result};

/// The slope of $\log y$ against $\log x$ by least squares, and without each block of samples.
///
/// $$p = \frac{\sum_i (\log x_i - \overline{\log x})(\log y_i - \overline{\log y})}
/// {\sum_i (\log x_i - \overline{\log x})^2}$$
///
/// An error that falls as $x^{-p}$ has slope $-p$. The interval is of the samples' chance alone:
/// that the points lie on no straight line is not in it.
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
