//! An adaptive Runge-Kutta method, which serves as the reference for the others.

use super::tableau::Tableau;
use crate::core::{Error, Eval, Level, Method, Result, Schedule, Solver, State, Step, largest};

/// Dormand and Prince's pair of orders 5 and 4 in sigma on $\bar x = x/\sqrt{\bar\alpha}$, which
/// divides every step of the grid into as many internal steps as its tolerance needs.
///
/// An internal step is accepted when
///
/// $$\left\| h \sum_i (b_i - \hat b_i)\,k_i \right\| \le
/// \text{atol} + \text{rtol}\,\min(\|\bar x\|, \|\bar x'\|)$$
///
/// where the norm is the largest root mean square of a sample. The smaller of the two states counts,
/// where other codes take the larger: sigma falls from 157 to 0, and a step down must be as exact as
/// the level it leads to needs.
///
/// A step of the grid that is not crossed in 10,000 internal steps is an error: a model that answers the
/// same question differently each time would never end.
///
/// Every sample of a batch must meet the tolerance, but all share their steps, so a sample depends on
/// its batch, by about the tolerance. This is the only method here whose samples differ in their last
/// bits between batches; in the same batch they are the same.
///
/// The ODE's slope at sigma = 0 is a limit that not every model can give. A step to the clean end goes
/// by adaptive steps to sigma = 0.001 and crosses the rest with the midpoint rule, whose calls lie
/// inside; since eps is odd in sigma there, its error is of order sigma^4.
///
/// Cost: six model calls for each internal step, rejected ones included, one more on each step of the
/// grid, and one at the clean end. The number depends on the data; [`count_nfe`] reports the least.
/// With a tolerance so large that no step is rejected, it is the fixed-step method of order 5.
///
/// [`count_nfe`]: crate::core::count_nfe
///
/// # References
/// Dormand, Prince, *A family of embedded Runge-Kutta formulae*, Journal of Computational and
/// Applied Mathematics 6 (1980), 19-26, table 2; step control after Hairer, Nørsett, Wanner,
/// *Solving Ordinary Differential Equations I*, Eq. (II.4.13).
#[derive(Clone, Debug)]
pub struct DormandPrince {
    rtol: f64,
    atol: f64,
    schedule: Schedule,
}

/// The sigma from which the midpoint rule steps to the clean end.
const LAST: f64 = 1e-3;

/// The most internal steps of a step of the grid. A tolerance that a model can meet at all takes a few
/// thousand.
const MOST: usize = 10_000;

/// The stages 2 to 7; the last one is the solution of order 5.
const STAGES: Tableau = Tableau {
    nodes: &[1.0 / 5.0, 3.0 / 10.0, 4.0 / 5.0, 8.0 / 9.0, 1.0, 1.0],
    rows: &[
        &[1.0 / 5.0],
        &[3.0 / 40.0, 9.0 / 40.0],
        &[44.0 / 45.0, -56.0 / 15.0, 32.0 / 9.0],
        &[19372.0 / 6561.0, -25360.0 / 2187.0, 64448.0 / 6561.0, -212.0 / 729.0],
        &[9017.0 / 3168.0, -355.0 / 33.0, 46732.0 / 5247.0, 49.0 / 176.0, -5103.0 / 18656.0],
        &[35.0 / 384.0, 0.0, 500.0 / 1113.0, 125.0 / 192.0, -2187.0 / 6784.0, 11.0 / 84.0],
    ],
};

/// The solution of order 5 minus that of order 4.
const ERROR: [f64; 7] = [
    71.0 / 57600.0,
    0.0,
    -71.0 / 16695.0,
    71.0 / 1920.0,
    -17253.0 / 339_200.0,
    22.0 / 525.0,
    -1.0 / 40.0,
];

impl DormandPrince {
    /// The method for a tolerance; the schedule gives the timesteps inside the grid's steps.
    ///
    /// # Errors
    /// A tolerance that is not positive and finite.
    pub fn new(rtol: f64, atol: f64, schedule: Schedule) -> Result<Self> {
        if [rtol, atol].iter().all(|value| *value > 0.0 && value.is_finite()) {
            return Ok(Self { rtol, atol, schedule });
        }
        let problem = format!("rtol = {rtol:e} and atol = {atol:e} must be positive and finite");
        Err(Error::Setting { solver: "dormand-prince", problem })
    }

    /// Carries x-bar and the slope there from one positive level, or from the clean one, to a
    /// positive level.
    fn cross<S: State>(
        &self,
        eval: &mut Eval<'_, S>,
        (mut x, mut slope): (S, S),
        from: Level,
        to: Level,
    ) -> Result<(S, S)> {
        let (mut sigma, end) = (from.sigma(), to.sigma());
        let (mut h, mut worst) = (end - sigma, 0);
        for _ in 0..MOST {
            let arrives = h.abs() >= (end - sigma).abs();
            if arrives {
                h = end - sigma;
            }
            let mut next = None;
            let later = STAGES.slopes(h, &slope, |node, moves| {
                let level = if node >= 1.0 && arrives {
                    to
                } else {
                    self.schedule.level_at_sigma(sigma + node * h)?
                };
                let stage = S::lincomb(&[&[(1.0, &x)][..], moves].concat())?;
                let slope = eval.eps(&S::lincomb(&[(level.signal(), &stage)])?, level)?;
                next = Some(stage);
                Ok(slope)
            })?;
            let next = next.expect("invariant: there are six stages");
            let slopes = std::iter::once(&slope).chain(&later);
            let error: Vec<_> = ERROR.iter().zip(slopes).map(|(e, k)| (h * e, k)).collect();
            let scale = x.largest_rms()?.min(next.largest_rms()?);
            let (row, error) = largest(&S::lincomb(&error)?.rms()?);
            worst = row;
            let ratio = error / (self.atol + self.rtol * scale);
            let accepted = ratio <= 1.0 || !ratio.is_finite(); // `integrate` refuses a state that is not finite
            if accepted {
                x = next;
                slope = later.into_iter().last().expect("invariant: there are six stages");
                sigma += h;
                if arrives || !ratio.is_finite() {
                    return Ok((x, slope));
                }
            }
            h *= (0.9 * ratio.powf(-0.2)).clamp(0.2, 5.0);
            if h.abs() <= 4.0 * f64::EPSILON * sigma.abs().max(end.abs()) {
                let (rtol, atol) = (self.rtol, self.atol);
                return Err(Error::Tolerance { solver: "dormand-prince", rtol, atol, sigma });
            }
        }
        let (solver, most, sample) = ("dormand-prince", MOST, eval.sample(worst));
        let &Self { rtol, atol, .. } = self;
        Err(Error::Unending { solver, most, from, to, sigma, sample, rtol, atol })
    }
}

impl Method for DormandPrince {
    fn name(&self) -> &'static str {
        "dormand-prince"
    }

    fn order(&self) -> Option<u32> {
        Some(5)
    }
}

impl<S: State> Solver<S> for DormandPrince {
    fn step(&self, eval: &mut Eval<'_, S>, x: &S, Step { from, to, .. }: Step) -> Result<S> {
        let start = (S::lincomb(&[(1.0 / from.signal(), x)])?, eval.eps(x, from)?);
        if !to.is_clean() {
            let (x, _) = self.cross(eval, start, from, to)?;
            return S::lincomb(&[(to.signal(), &x)]);
        }
        let last = self.schedule.level_at_sigma(LAST)?;
        let (h, (x, slope)) = if from.sigma() > LAST {
            (-LAST, self.cross(eval, start, from, last)?)
        } else {
            (-from.sigma(), start)
        };
        let middle = self.schedule.level_at_sigma(-0.5 * h)?;
        let a = middle.signal();
        let slope = eval.eps(&S::lincomb(&[(a, &x), (0.5 * a * h, &slope)])?, middle)?;
        S::lincomb(&[(1.0, &x), (h, &slope)]) // at the clean end x is x-bar
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::{ERROR, STAGES};

    #[test]
    fn the_tableau_meets_the_order_conditions_of_its_quadratures() {
        for (node, row) in STAGES.nodes.iter().zip(STAGES.rows) {
            assert_abs_diff_eq!(row.iter().sum::<f64>(), *node, epsilon = 1e-14);
        }
        let moment = |weights: &[f64], k: i32| -> f64 {
            let nodes = std::iter::once(&0.0).chain(STAGES.nodes);
            weights.iter().zip(nodes).map(|(w, c): (&f64, &f64)| w * c.powi(k)).sum()
        };
        for k in 0..5 {
            assert_abs_diff_eq!(moment(STAGES.rows[5], k), 1.0 / f64::from(k + 1), epsilon = 1e-14);
        }
        for k in 0..4 {
            assert_abs_diff_eq!(moment(&ERROR, k), 0.0, epsilon = 1e-14);
        }
        assert!(moment(&ERROR, 4).abs() > 1e-4);
    }
}
