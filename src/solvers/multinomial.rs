//! DDIM on categories: the mixture of x_t, x0 and chance that keeps the marginals.

use crate::core::{Error, Eval, Method, Result, Solver, State, Step};

/// The reverse process of the non-Markovian forward process on categories.
///
/// Here $\alpha$ is [`Level::alpha_bar`](crate::core::Level::alpha_bar), the probability that a category is
/// kept: $q(x_t \mid x_0) = \mathrm{Cat}(\alpha_t x_0 + (1-\alpha_t)\,\mathbf 1_K)$, with all entries of
/// $\mathbf 1_K$ at $1/K$. For every $\sigma_t$ between 0 and its largest,
///
/// $$q(x_\text{to} \mid x, x_0) = \mathrm{Cat}\bigl(\sigma_t\,x + (\alpha_\text{to} - \sigma_t\alpha)\,x_0
/// + (1 - \alpha_\text{to} - (1-\alpha)\,\sigma_t)\,\mathbf 1_K\bigr)$$
///
/// has that marginal at the next level too. A step has the model's probabilities of x0 in the place of x0,
/// and draws every variable by itself.
///
/// `sigma_scale` is $\sigma_t$ as a share of its largest, $(1-\alpha_\text{to})/(1-\alpha)$: weights must not
/// be negative, and the bound by x0's, $\alpha_\text{to}/\alpha$, is never the smaller one. At 1 nothing is
/// drawn from $\mathbf 1_K$, the least chance that there can be, as in DDIM; at 0 the step forgets x. A step to the
/// clean end draws x0, whatever the share. Cost: one model call. It always draws.
///
/// # References
/// Song, Meng, Ermon, *Denoising Diffusion Implicit Models*, ICLR 2021, appendix A.
#[derive(Clone, Copy, Debug)]
pub struct Multinomial {
    scale: f64,
}

/// What a step mixes, and with which weights; they sum to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mix {
    /// Of x, where the step begins: $\sigma_t$.
    pub x: f64,
    /// Of x0: $\alpha_\text{to} - \sigma_t\alpha$.
    pub x0: f64,
    /// Of all categories evenly: $1 - \alpha_\text{to} - (1-\alpha)\,\sigma_t$.
    pub even: f64,
}

impl Multinomial {
    /// The method of a share of the largest $\sigma_t$.
    ///
    /// # Errors
    /// A share outside [0, 1].
    pub fn new(sigma_scale: f64) -> Result<Self> {
        if (0.0..=1.0).contains(&sigma_scale) {
            return Ok(Self { scale: sigma_scale });
        }
        let problem = format!("sigma_scale = {sigma_scale} must be from 0 to 1");
        Err(Error::Setting { solver: "multinomial", problem })
    }

    /// The weights of a step towards the data.
    pub fn mix(&self, step: Step) -> Mix {
        let (from, to) = (step.from.alpha_bar, step.to.alpha_bar);
        let sigma = self.scale * (1.0 - to) / (1.0 - from);
        // The last is 1 - to - (1 - from) sigma without its cancellation.
        Mix { x: sigma, x0: to - sigma * from, even: (1.0 - to) * (1.0 - self.scale) }
    }
}

impl Method for Multinomial {
    fn name(&self) -> &'static str {
        "multinomial"
    }

    fn order(&self) -> Option<u32> {
        None
    }

    fn starts_from_pure_noise(&self) -> bool {
        true
    }
}

impl<S: State> Solver<S> for Multinomial {
    fn step(&self, eval: &mut Eval<'_, S>, x: &S, step: Step) -> Result<S> {
        let mix = self.mix(step);
        let (_, x0) = eval.eps_and_x0(x, step.from)?;
        let (a, b) = (eval.normal(x, step, 0)?, eval.normal(x, step, 1)?);
        S::lincomb(&[(mix.x, x), (mix.x0, &x0)])?.choose(mix.even, [&a, &b])
    }
}
