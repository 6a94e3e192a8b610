//! UniPC: a multistep predictor with a corrector that needs no further call.

use super::{
    check_order,
    multistep::{combine, moment, weights},
};
use crate::core::{Eval, Level, Method, Result, Solver, State, Step};

/// The function B(h) of a [`UniPc`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UniPcB {
    /// $B_1(h) = h$.
    Bh1,
    /// $B_2(h) = e^h - 1$.
    Bh2,
}

/// UniPC of p = 2 or 3 on the predicted x0, in $\lambda = -\log\sigma$.
///
/// $$x_\text{to} = \frac{\sqrt{1-\bar\alpha_\text{to}}}{\sqrt{1-\bar\alpha_\text{from}}}\,x +
/// \sqrt{\bar\alpha_\text{to}}\,h \sum_j w_j\,\hat x_{0,j}, \qquad
/// \sum_j w_j \left(\frac{\lambda_j - \lambda_\text{from}}{h}\right)^k = k!\,\varphi_{k+1}(-h)$$
///
/// with $h = \lambda_\text{to} - \lambda_\text{from}$.
///
/// The predictor takes $\hat x_0$ at `from` and at up to p - 1 levels before; the corrector, once the
/// model has been called at `to`, takes that one as well. B(h) matters only where a rule has two
/// values: there the paper replaces the second moment $\varphi_2(-h)$ by $\tfrac12 B(-h)/(-h)$; with
/// three or four values it cancels.
///
/// The call that starts a step is also the one that the step before needs to correct its end. So a step
/// first corrects the x it is given, by a combination of remembered predictions, and then predicts.
/// Between two steps x is the predictor's, and the end of the grid is never corrected, as in other
/// codes. Steps that touch the clean end, where $\lambda$ is infinite, take the first-order
/// form. Cost: one model call; memory: p predictions. The order is that of the corrector, p + 1, but
/// the first step, of order 2 when corrected, leaves 3 for p = 3 as well.
///
/// With [`lowered`](Self::lowered), if fewer than p steps are left, the current one included, that
/// number is the order of the step and of its corrector, as with diffusers' `lower_order_final`, its
/// default. On a grid that ends clean this changes only p = 3; a last step of first order to a noisy
/// level leaves order 2.
///
/// # References
/// Zhao, Bai, Rao, Zhou, Lu, *UniPC: A Unified Predictor-Corrector Framework for Fast Sampling of
/// Diffusion Models*, NeurIPS 2023, theorem 3.1 and appendix (multistep, data prediction).
/// arXiv:2302.04867.
#[derive(Clone, Copy, Debug)]
pub struct UniPc {
    p: u32,
    b: UniPcB,
    lower_order_final: bool,
}

impl UniPc {
    /// The method of an order p and a function B(h).
    ///
    /// # Errors
    /// An order other than 2 or 3.
    pub fn new(p: u32, b: UniPcB) -> Result<Self> {
        check_order("unipc", p, 2..=3)?;
        Ok(Self { p, b, lower_order_final: false })
    }

    /// The same with the last steps in a lower order.
    #[must_use]
    pub fn lowered(self) -> Self {
        Self { lower_order_final: true, ..self }
    }

    /// The number of values that the predictor of a step uses, from the number of steps that follow.
    fn known(self, left: usize) -> usize {
        if self.lower_order_final { left + 1 } else { usize::MAX }.min(self.p as usize)
    }

    /// $\sqrt{\bar\alpha_\text{to}}\,h\,w_j$ for the values at `levels`, in a step from the first of
    /// them to `to`.
    fn factors(self, levels: &[Level], to: Level) -> Vec<f64> {
        let start = levels[0].lambda();
        let h = to.lambda() - start;
        let nodes: Vec<f64> = levels.iter().map(|level| (level.lambda() - start) / h).collect();
        let rule = weights(&nodes, |k| match (nodes.len(), k, self.b) {
            (2, 1, UniPcB::Bh1) => 0.5,
            (2, 1, UniPcB::Bh2) => 0.5 * moment(-h, 0), // (e^z - 1)/z
            _ => moment(-h, k),
        });
        rule.into_iter().map(|w| to.signal() * h * w).collect()
    }

    /// UniP: the factors of the values in the step from `levels[0]`, where the latest of them was
    /// predicted, to `to`.
    ///
    /// $$x_\text{to} = \frac{\sqrt{1-\bar\alpha_\text{to}}}{\sqrt{1-\bar\alpha_\text{from}}}\,x +
    /// \sqrt{\bar\alpha_\text{to}}\,h \sum_j w_j\,\hat x_{0,j}$$
    fn predict(self, levels: &[Level], to: Level, left: usize) -> Vec<f64> {
        let known = self.known(left).min(levels.len());
        let mut factors = self.factors(&levels[..known], to);
        factors.resize(levels.len(), 0.0);
        factors
    }

    /// UniC: the factors of the values in the correction of x at `levels[0]`. The step that led there
    /// is taken by its weights w, without the value there, and by those that have it, w':
    ///
    /// $$x \leftarrow x + \sqrt{\bar\alpha}\,h \sum_j (w'_j - w_j)\,\hat x_{0,j}$$
    fn correct(self, levels: &[Level], left: usize) -> Vec<f64> {
        let known = self.known(left + 1).min(levels.len() - 1);
        let (here, before) = (levels[0], &levels[1..=known]);
        let mut factors = vec![0.0; levels.len()];
        if !before.is_empty() {
            let without = self.factors(before, here);
            let with = self.factors(&[before, &[here]].concat(), here);
            factors[0] = with[known];
            for (factor, (with, without)) in factors[1..].iter_mut().zip(with.iter().zip(without)) {
                *factor = with - without;
            }
        }
        factors
    }
}

impl Method for UniPc {
    fn name(&self) -> &'static str {
        "unipc"
    }

    fn order(&self) -> Option<u32> {
        Some(if self.lower_order_final { 2 } else { 3 })
    }

    fn memory(&self) -> usize {
        self.p as usize
    }
}

impl<S: State> Solver<S> for UniPc {
    fn step(&self, eval: &mut Eval<'_, S>, x: &S, step: Step) -> Result<S> {
        let Step { from, to, left, .. } = step;
        let (eps, x0) = eval.eps_and_x0(x, from)?;
        if to.is_clean() {
            return Ok(x0); // independent of x, so uncorrected
        }
        let next = if from.is_clean() {
            S::lincomb(&[(to.signal(), &x0), (to.std(), &eps)])?
        } else {
            let noisy = eval.history(from, &x0).filter(|(level, _)| !level.is_clean());
            let (levels, values): (Vec<Level>, Vec<&S>) = noisy.unzip();
            let (correct, predict) = (self.correct(&levels, left), self.predict(&levels, to, left));
            // keep (x + corrections) + predictions, as one combination.
            let keep = step.std_ratio();
            let factors: Vec<f64> =
                correct.iter().zip(predict).map(|(c, p)| keep * c + p).collect();
            combine((keep, x), 1.0, &factors, &values)?
        };
        eval.remember(from, x0);
        Ok(next)
    }
}
