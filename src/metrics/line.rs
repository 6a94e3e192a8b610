//! A straight line through points, and what their scatter about it leaves open.

/// The least-squares line $y = a + b x$.
///
/// $$b = \frac{\sum_i (x_i - \bar x)(y_i - \bar y)}{\sum_i (x_i - \bar x)^2}, \quad
/// a = \bar y - b \bar x$$
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// b.
    pub slope: f64,
    /// a.
    pub intercept: f64,
    /// Absent for a line through two points, which leaves no scatter to judge it by.
    pub errors: Option<LineErrors>,
    /// Number of points n.
    pub points: usize,
}

/// Standard errors of a line, of points that scatter alike about it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LineErrors {
    /// $s / \sqrt{S}$ with $S = \sum_i (x_i - \bar x)^2$.
    pub slope: f64,
    /// $s \sqrt{1 / n + \bar x^2 / S}$.
    pub intercept: f64,
    /// The standard deviation about the line, $s^2 = \sum_i (y_i - a - b x_i)^2 / (n - 2)$.
    pub residual: f64,
}

impl Line {
    /// Fits a line through `(x, y)`; none through fewer than two different x.
    pub fn fit(points: &[(f64, f64)]) -> Option<Self> {
        let n = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
        let (x_mean, y_mean) = (mean(|p| p.0), mean(|p| p.1));
        let spread: f64 = points.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
        if points.len() < 2 || spread <= 0.0 {
            return None;
        }
        let along: f64 = points.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
        let slope = along / spread;
        let intercept = y_mean - slope * x_mean;
        let errors = (points.len() > 2).then(|| {
            let squares = points.iter().map(|(x, y)| (y - intercept - slope * x).powi(2));
            let residual = (squares.sum::<f64>() / (n - 2.0)).sqrt();
            LineErrors {
                slope: residual / spread.sqrt(),
                intercept: residual * (1.0 / n + x_mean.powi(2) / spread).sqrt(),
                residual,
            }
        });
        Some(Self { slope, intercept, errors, points: points.len() })
    }

    /// $a + b x$.
    pub fn at(&self, x: f64) -> f64 {
        self.intercept + self.slope * x
    }
}

#[cfg(test)]
mod tests {
    use approx::{assert_abs_diff_eq, assert_relative_eq};

    use super::*;

    /// Norris, J., Calibration of Ozone Monitors (NIST): y and x.
    const NORRIS: [(f64, f64); 36] = [
        (0.1, 0.2),
        (338.8, 337.4),
        (118.1, 118.2),
        (888.0, 884.6),
        (9.2, 10.1),
        (228.1, 226.5),
        (668.5, 666.3),
        (998.5, 996.3),
        (449.1, 448.6),
        (778.9, 777.0),
        (559.2, 558.2),
        (0.3, 0.4),
        (0.1, 0.6),
        (778.1, 775.5),
        (668.8, 666.9),
        (339.3, 338.0),
        (448.9, 447.5),
        (10.8, 11.6),
        (557.7, 556.0),
        (228.3, 228.1),
        (998.0, 995.8),
        (888.8, 887.6),
        (119.6, 120.2),
        (0.3, 0.3),
        (0.6, 0.3),
        (557.6, 556.8),
        (339.3, 339.1),
        (888.0, 887.2),
        (998.5, 999.0),
        (778.9, 779.0),
        (10.2, 11.1),
        (117.6, 118.3),
        (228.9, 229.2),
        (668.4, 669.1),
        (449.2, 448.9),
        (0.2, 0.5),
    ];

    #[test]
    fn the_line_has_the_certified_values_of_nist() {
        // Statistical Reference Datasets, linear regression, data set Norris.
        let points = NORRIS.map(|(y, x)| (x, y));
        let line = Line::fit(&points).unwrap();
        let errors = line.errors.unwrap();
        let certified = [
            (line.slope, 1.002_116_818_020_45),
            (line.intercept, -0.262_323_073_774_029),
            (errors.slope, 0.429_796_848_199_937e-3),
            (errors.intercept, 0.232_818_234_301_152),
            (errors.residual, 0.884_796_396_144_373),
        ];
        for (found, expected) in certified {
            assert_relative_eq!(found, expected, max_relative = 1e-11);
        }
        assert_eq!(line.points, 36);
    }

    #[test]
    fn two_points_have_a_line_and_no_error_and_one_place_has_none() {
        let line = Line::fit(&[(1.0, 2.0), (3.0, 8.0)]).unwrap();
        assert_eq!((line.slope, line.intercept, line.errors), (3.0, -1.0, None));
        assert_abs_diff_eq!(line.at(2.0), 5.0);
        assert_eq!(Line::fit(&[(2.0, 1.0), (2.0, 3.0)]), None);
        assert_eq!(Line::fit(&[]), None);
    }
}
