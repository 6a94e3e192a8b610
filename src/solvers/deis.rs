//! DEIS: the multistep exponential integrator of eps in the logarithm of sigma.

use crate::core::{Eval, Kind, Level, Result, Solver, State, Step};
use crate::solvers::{
    check_order, lowered,
    weights::{moment, weights},
};

/// DEIS of order 2 or 3 with its polynomial in $\log\sigma$ (the "log-rho" form).
///
/// $$\bar x' = \bar x + \int_\sigma^{\sigma'} P(\log s)\,\mathrm ds
/// = \bar x + h\,\sigma' \sum_j w_j\,\epsilon_j, \qquad
/// \sum_j w_j \left(\frac{\log(\sigma_j/\sigma)}{h}\right)^k = k!\,\varphi_{k+1}(-h), \quad
/// h = \log\frac{\sigma'}{\sigma}$$
///
/// where P interpolates the prediction $\epsilon_0$ at $\sigma$ and those of the steps before. With
/// a polynomial in sigma instead this is [`AdamsBashforth`](crate::solvers::AdamsBashforth).
///
/// Steps that touch the clean end, where $\log\sigma$ is infinite, take the first-order form, which
/// is DDIM. So does the first step of order 2; that of order 3 is the two-call step of the same
/// kind, with the slope at both ends, where the peers take DDIM and stay at order 2. Cost: one model
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

    /// The same with the last of few steps in a lower order.
    #[must_use]
    pub fn lowered(self) -> Self {
        Self { lower_order_final: true, ..self }
    }
}

impl<S: State> Solver<S> for Deis {
    fn name(&self) -> &'static str {
        "deis"
    }

    fn kind(&self) -> Kind {
        Kind::Deterministic { order: self.order }
    }

    fn memory(&self) -> usize {
        self.order as usize - 1
    }

    fn step(&self, eval: &mut Eval<'_, S>, x: &S, step: Step) -> Result<S> {
        let Step { from, to, .. } = step;
        let most = if self.lower_order_final { lowered(step).min(self.order) } else { self.order };
        let eps = eval.eps(x, from)?;
        let h = (to.sigma() / from.sigma()).ln();
        let (a, gain) = (to.signal() / from.signal(), to.noise() * h);
        let next = if from.is_clean() || to.is_clean() {
            S::lincomb(&[(a, x), (to.signal() * (to.sigma() - from.sigma()), &eps)])?
        } else {
            let past = || {
                let noisy = eval.recalled().filter(|(level, _)| !level.is_clean());
                noisy.take(most as usize - 1)
            };
            let node = |(level, _): &(Level, S)| (level.sigma() / from.sigma()).ln() / h;
            let nodes: Vec<f64> = std::iter::once(0.0).chain(past().map(node)).collect();
            let w = weights(&nodes, |k| moment(-h, k));
            let slopes = std::iter::once(&eps).chain(past().map(|(_, eps)| eps));
            let terms = w.iter().zip(slopes).map(|(w, eps)| (gain * w, eps));
            let next = S::lincomb(&std::iter::once((a, x)).chain(terms).collect::<Vec<_>>())?;
            if most == 3 && nodes.len() == 1 {
                let ahead = eval.eps(&next, to)?;
                let w = weights(&[0.0, 1.0], |k| moment(-h, k));
                S::lincomb(&[(a, x), (gain * w[0], &eps), (gain * w[1], &ahead)])?
            } else {
                next
            }
        };
        eval.remember(from, eps);
        Ok(next)
    }
}
