//! The inverse of a one-call step: backward Euler by fixed-point iteration.

use std::sync::Arc;

use crate::core::{Affine, At, Error, Eval, Grid, Method, Result, Solver, State, Step};

/// A one-call method's step, solved for the x it started from.
///
/// The method carries $x_\text{to}$ back to $x$ by $x = a\,x_\text{to} + h\,\epsilon(x_\text{to},
/// \text{to})$, with its own factors (a, h) from `to` to `from`. Solved by iteration, that is
///
/// $$x_\text{to}^{(j)} = \frac{x - h\,\epsilon(x_\text{to}^{(j-1)}, \text{to})}{a}, \qquad
/// x_\text{to}^{(0)} = x$$
///
/// so the first iteration evaluates the model at x with the timestep of the next level. One iteration
/// is the "next" convention of inversion (diffusers' inverse scheduler); many are the "fixed-point"
/// one, which undoes the method up to rounding if the iteration contracts. The "current" convention
/// needs none of this: it runs the method on the reversed grid and asks at the current level.
/// Cost: as many model calls as iterations; order 1.
///
/// # References
/// Song, Meng, Ermon, ICLR 2021, section 4.3 (reversal of the ODE); Pan, Gherardi, Xie, Huang,
/// *Effective Real Image Editing with Accelerated Iterative Diffusion Inversion*, ICCV 2023, for the
/// iteration, here without its acceleration. arXiv:2309.04907.
#[derive(Debug)]
pub struct Inverse<M: ?Sized> {
    method: Arc<M>,
    iterations: usize,
}

impl<M: ?Sized> Inverse<M> {
    /// The inverse of a method with this many iterations.
    ///
    /// # Errors
    /// No iterations.
    pub fn new(method: Arc<M>, iterations: usize) -> Result<Self> {
        if iterations == 0 {
            let problem = "iterations = 0: at least one is needed".to_owned();
            return Err(Error::Setting { solver: "fixed-point", problem });
        }
        Ok(Self { method, iterations })
    }
}

impl<M: Method + ?Sized> Method for Inverse<M> {
    fn name(&self) -> &'static str {
        self.method.name()
    }

    fn order(&self) -> Option<u32> {
        self.method.order()
    }

    /// Whether the method admits the grid in the other direction.
    fn admits(&self, grid: &Grid) -> Result<()> {
        self.method.admits(&grid.clone().reversed())?;
        if grid.steps().all(|step| self.method.affine(step.reversed()).is_some()) {
            return Ok(());
        }
        Err(Error::NotOneCall { solver: self.name() })
    }
}

impl<S: State, M: Method + ?Sized> Solver<S> for Inverse<M> {
    fn step(&self, eval: &mut Eval<'_, S>, x: &S, step: Step) -> Result<S> {
        let Step { from, to, .. } = step;
        let Some(Affine { a, h }) = self.method.affine(step.reversed()) else {
            return Err(Error::NotOneCall { solver: self.name() });
        };
        let solve = |eps: &S| S::lincomb(&[(1.0 / a, x), (-h / a, eps)]);
        let mut x_to = solve(&eval.eps(x, At { state: from, asked: to })?)?;
        for _ in 1..self.iterations {
            x_to = solve(&eval.eps(&x_to, to)?)?;
        }
        Ok(x_to)
    }
}
