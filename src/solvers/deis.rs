//! DEIS: the multistep exponential integrator of eps in the logarithm of sigma.

use super::{
    check_order, lowered,
    multistep::{combine, moment, weights},
};
use crate::core::{Eval, Level, Method, Result, Solver, State, Step};

/// DEIS of order 2 or 3 with its polynomial in $\log\sigma$ (the "log-rho" form).
///
/// $$\bar x' = \bar x + \int_\sigma^{\sigma'} P(\log s)\,\mathrm ds
/// = \bar x + h\,\sigma' \sum_j w_j\,\epsilon_j, \qquad
/// \sum_j w_j \left(\frac{\log(\sigma_j/\sigma)}{h}\right)^k = k!\,\varphi_{k+1}(-h), \quad
/// h = \log\frac{\sigma'}{\sigma}$$
///
/// where P interpolates the prediction $\epsilon_0$ at $\sigma$ and those of the steps before. With
/// a polynomial in sigma instead this is [`AdamsBashforth`](super::AdamsBashforth).
///
/// Steps that touch the clean end, where $\log\sigma$ is infinite, take the first-order form, which
/// is DDIM. So does the first step of order 2. The first step of order 3 makes two calls, one at
/// each end; other codes take DDIM there and stay at order 2. Cost: one model
/// call, one more at the start of order 3; memory: order - 1 predictions. With
/// [`lowered`](Self::lowered), the last of fewer than 15 steps is of first order and the one before of
/// second at most, as in diffusers by default.
///
/// # References
/// Zhang, Chen, *Fast Sampling of Diffusion Models with Exponential Integrator*, ICLR 2023,
/// Eqs. (14) and (15), arXiv:2204.13902; the polynomial in log-sigma as in diffusers.
#[derive(Clone, Copy, Debug)]
pub struct Deis {
    order: u32,
    lower_order_final: bool,
}

impl Deis {
    /// The method of an order.
    ///
    /// # Errors
    /// An order other than 2 or 3.
    pub fn new(order: u32) -> Result<Self> {
        check_order("deis", order, 2..=3)?;
        Ok(Self { order, lower_order_final: false })
    }

    /// The same, with the last steps in a lower order if there are few.
    #[must_use]
    pub fn lowered(self) -> Self {
        Self { lower_order_final: true, ..self }
    }
}

impl Method for Deis {
    fn name(&self) -> &'static str {
        "deis"
    }

    fn order(&self) -> Option<u32> {
        Some(self.order)
    }

    fn memory(&self) -> usize {
        self.order as usize - 1
    }
}

impl<S: State> Solver<S> for Deis {
    fn step(&self, eval: &mut Eval<'_, S>, x: &S, step: Step) -> Result<S> {
        let Step { from, to, .. } = step;
        let order = if self.lower_order_final { lowered(step).min(self.order) } else { self.order };
        let h = (to.sigma() / from.sigma()).ln();
        let rule = |nodes: &[f64], slopes: &[&S]| {
            let weights = weights(nodes, |k| moment(-h, k));
            combine((step.signal_ratio(), x), to.std() * h, &weights, slopes)
        };
        let eps = eval.eps(x, from)?;
        let node = |(level, eps): (Level, _)| ((level.sigma() / from.sigma()).ln() / h, eps);
        let noisy = eval.history(from, &eps).filter(|(level, _)| !level.is_clean());
        let (nodes, slopes): (Vec<f64>, Vec<&S>) = noisy.take(order as usize).map(node).unzip();
        let next = if from.is_clean() || to.is_clean() {
            step.advance(x, &[(to.sigma() - from.sigma(), &eps)])?
        } else if order == 3 && slopes.len() == 1 {
            let first = rule(&nodes, &slopes)?;
            rule(&[0.0, 1.0], &[&eps, &eval.eps(&first, to)?])?
        } else {
            rule(&nodes, &slopes)?
        };
        eval.remember(from, eps);
        Ok(next)
    }
}
