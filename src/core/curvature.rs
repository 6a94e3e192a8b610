//! How far a path is from a straight line.

use crate::core::{Level, Result, State};

/// The curvature of a path in $\bar x = x/\sqrt{\bar\alpha}$ over a clock $u$, a function of sigma.
///
/// $$C = \sqrt{\bar\alpha_\text{end}} \int \lvert u - u_\text{end}\rvert\,
/// \left\lVert\frac{d^2\bar x}{du^2}\right\rVert\,\lvert du\rvert$$
///
/// for each sample, with the root mean square over its values as the norm. By Taylor's theorem, C is at
/// least the error in x of a single Euler step on that clock from the start of the path to its end, and
/// equal to it where the second derivative keeps its direction; S even steps miss by about C / S. The path is taken as the polygon through
/// the states that are seen, whose second derivative lies in its corners.
#[derive(Debug)]
pub struct Curvature<S> {
    clock: fn(f64) -> f64,
    end: f64,
    /// The factor of x-bar in x at the end.
    scale: f64,
    /// The state last seen in x-bar, its clock, and the slope that led to it.
    last: Option<(f64, S, Option<S>)>,
    total: Vec<f64>,
}

impl<S: State> Curvature<S> {
    /// That of a path which ends at this level.
    pub fn new(clock: fn(f64) -> f64, end: Level) -> Self {
        let scale = end.signal();
        Self { clock, end: clock(end.sigma()), scale, last: None, total: vec![] }
    }

    /// Takes the next state of the path.
    ///
    /// # Errors
    /// Whatever the tensor library returns.
    pub fn see(&mut self, level: Level, x: &S) -> Result<()> {
        let now = (self.clock)(level.sigma());
        let bar = S::lincomb(&[(1.0 / level.signal(), x)])?;
        let slope = match &self.last {
            None => None,
            Some((before, from, led)) => {
                let per = 1.0 / (now - before);
                let slope = S::lincomb(&[(per, &bar), (-per, from)])?;
                if let Some(led) = led {
                    let turn = S::lincomb(&[(1.0, &slope), (-1.0, led)])?.rms()?;
                    self.total.resize(turn.len(), 0.0);
                    for (total, turn) in self.total.iter_mut().zip(turn) {
                        *total += self.scale * (before - self.end).abs() * turn;
                    }
                }
                Some(slope)
            }
        };
        self.last = Some((now, bar, slope));
        Ok(())
    }

    /// C of every sample: 0 for a path of fewer than two steps.
    pub fn total(mut self, samples: usize) -> Vec<f64> {
        self.total.resize(samples, 0.0);
        self.total
    }
}
