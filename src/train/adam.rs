//! Adam over one vector.

use tch::Tensor;

use crate::train::settings::Optimiser;

/// The moments of the gradient, and how many steps they hold.
#[derive(Debug)]
pub struct Moments {
    /// The running mean of the gradient, `[P]`.
    pub mean: Tensor,
    /// The running mean of its square, `[P]`.
    pub square: Tensor,
}

impl Moments {
    /// Before the first step.
    ///
    /// # Errors
    /// What LibTorch refuses.
    pub fn new(weights: &Tensor) -> Result<Self, tch::TchError> {
        Ok(Self { mean: weights.f_zeros_like()?, square: weights.f_zeros_like()? })
    }

    /// The step with number `step`, counted from 1: moments and weights change in place.
    ///
    /// $m \leftarrow \beta_1 m + (1 - \beta_1) g$, $v \leftarrow \beta_2 v + (1 - \beta_2) g^2$,
    /// $\theta \leftarrow \theta - r\,\hat m / (\sqrt{\hat v} + \varepsilon)$ with
    /// $\hat m = m / (1 - \beta_1^k)$, $\hat v = v / (1 - \beta_2^k)$ (Kingma, Ba 2015, Algorithm 1);
    /// where `decayed` is 1, weights shrink by $r \lambda$ first (Loshchilov, Hutter 2019).
    ///
    /// # Errors
    /// What LibTorch refuses.
    pub fn step(
        &mut self,
        weights: &mut Tensor,
        gradient: &Tensor,
        (step, rate): (u64, f64),
        decayed: Option<&Tensor>,
        settings: &Optimiser,
    ) -> Result<(), tch::TchError> {
        let Optimiser { beta1, beta2, epsilon, weight_decay, .. } = *settings;
        let step = i32::try_from(step).unwrap_or(i32::MAX);
        let (first, second) = (1.0 - beta1.powi(step), 1.0 - beta2.powi(step));
        if let Some(decayed) = decayed {
            let factor = decayed.f_mul_scalar(-rate * weight_decay)?.f_add_scalar_(1.0)?;
            let _ = weights.f_mul_(&factor)?;
        }
        let _ = self.mean.f_lerp_(gradient, 1.0 - beta1)?;
        let _ = self.square.f_lerp_(&gradient.f_square()?, 1.0 - beta2)?;
        let root = self.square.f_div_scalar(second)?.f_sqrt_()?.f_add_scalar_(epsilon)?;
        let change = self.mean.f_mul_scalar(-rate / first)?.f_div_(&root)?;
        let _ = weights.f_add_(&change)?;
        Ok(())
    }
}
