//! The variational bound as a loss: one of its terms for each image, with gradients.
//!
//! It is [`crate::likelihood`]'s bound at S = T with a learned variance, written with what a training
//! knows: the error of the prediction, not the image that it implies. All of it is computed in f64:
//! near the noise the two variances of a term differ in their last f32 digits.

use std::f64::consts::LN_2;

use tch::{Kind, Tensor};

use crate::core::Schedule;
use crate::networks::predicts::Predicts;

/// Numbers of a timestep that a term needs, in the order of a column of [`Terms::of`].
const NUMBERS: usize = 5;

/// Half of a byte's bin on [-1, 1].
const HALF_BIN: f64 = 1.0 / 255.0;

/// Beyond these, a bin reaches to infinity.
const END: f64 = 0.999;

/// The smallest mass ratio whose logarithm is taken; f64 keeps nothing below.
const LEAST: f64 = 1e-300;

/// The terms of the bound at all timesteps of a schedule.
#[derive(Clone, Debug)]
pub struct Terms(Vec<[f64; NUMBERS]>);

impl Terms {
    /// The terms of a schedule, for a network that predicts `target`.
    ///
    /// # Panics
    /// Never: every timestep below the horizon has a level.
    pub fn new(schedule: &Schedule, target: Predicts) -> Self {
        let level = |t: usize| schedule.level(t as f64).expect("invariant: t is below the horizon");
        // beta and its posterior variance, of t >= 1.
        let variances = |t: usize| {
            let (from, to) = (level(t), level(t - 1));
            let beta = 1.0 - from.alpha_bar / to.alpha_bar;
            (beta, (1.0 - to.alpha_bar) / (1.0 - from.alpha_bar) * beta)
        };
        let numbers = |t: usize| {
            let from = level(t);
            // x0 minus the x0 that a prediction implies, per error of that prediction.
            let factor = match target {
                Predicts::Eps => from.std() / from.signal(),
                Predicts::X0 => -1.0,
                Predicts::V => from.std(),
            };
            if t == 0 {
                // The last step has no posterior variance and takes that of the step before.
                let least = variances(1).1.ln();
                return [least, (1.0 - from.alpha_bar).ln() - least, 0.0, factor, 1.0];
            }
            let (beta, posterior) = variances(t);
            let towards_x0 = level(t - 1).signal() * beta / (1.0 - from.alpha_bar);
            let precision = (towards_x0 * factor).powi(2) / posterior;
            [posterior.ln(), beta.ln() - posterior.ln(), precision, factor, 0.0]
        };
        Self((0..schedule.horizon()).map(numbers).collect())
    }

    /// The numbers of a batch's timesteps, f64 `[5, N]`: what [`bits`] needs of them.
    ///
    /// # Errors
    /// What LibTorch refuses.
    pub fn of(&self, timesteps: &[i64]) -> Result<Tensor, tch::TchError> {
        let numbers = |which: usize| {
            let timesteps = timesteps.iter();
            timesteps.filter_map(move |&t| Some(self.0.get(usize::try_from(t).ok()?)?[which]))
        };
        let rows: Vec<f64> = (0..NUMBERS).flat_map(numbers).collect();
        Tensor::f_from_slice(&rows)?.f_reshape([NUMBERS.cast_signed() as i64, -1])
    }
}

/// The term of each image, bits per dimension, f64 `[N]`.
///
/// With $u = (v + 1)/2$, $d = \log\beta - \log\tilde\beta$ and the error $\Delta$ of the prediction it is
///
/// $$\tfrac12\left(e^{-ud} - 1 + ud + \frac{(a c \Delta)^2}{\tilde\beta}\,e^{-ud}\right) / \log 2$$
///
/// where $c\,\Delta$ is the error of x0 and a its factor in the posterior's mean; at t = 0 it is
/// $-\log_2$ of the mass of the byte's bin.
///
/// - Shape: numbers `[5, N]` of [`Terms::of`]; error (predicted minus true), v and x0 `[N, C, H, W]`.
/// - Units: v is the range of the log-variance, -1 at the posterior's and 1 at beta; x0 in [-1, 1].
///
/// # Errors
/// What LibTorch refuses.
///
/// # References
/// Nichol, Dhariwal, *Improved Denoising Diffusion Probabilistic Models*, ICML 2021, Eqs. (4) to (7) and (15);
/// the mass of a bin is Eq. (13) of Ho, Jain, Abbeel, NeurIPS 2020.
pub fn bits(
    numbers: &Tensor,
    error: &Tensor,
    v: &Tensor,
    x0: &Tensor,
) -> Result<Tensor, tch::TchError> {
    let of = |which| numbers.f_get(which)?.f_reshape([-1, 1, 1, 1]);
    let [least, spread, precision, factor, first] = [of(0)?, of(1)?, of(2)?, of(3)?, of(4)?];
    let wide = |x: &Tensor| x.f_to_kind(Kind::Double);
    let (error, x0) = (wide(error)?, wide(x0)?);
    let excess = wide(v)?.f_add_scalar(1.0)?.f_mul_scalar(0.5)?.f_mul(&spread)?;

    // Where another term is meant, each gets numbers that keep it finite: 0 times infinity is none.
    let later = first.f_neg()?.f_add_scalar(1.0)?;
    let above = excess.f_mul(&later)?;
    let narrowed = above.f_neg()?;
    let shift = error.f_square()?.f_mul(&precision)?.f_mul(&narrowed.f_exp()?)?;
    let divergence = narrowed.f_expm1()?.f_add(&above)?.f_add(&shift)?.f_mul_scalar(0.5)?;

    let log_variance = least.f_add(&excess)?.f_mul(&first)?;
    let inverse = log_variance.f_mul_scalar(-0.5)?.f_exp()?;
    let off = error.f_mul(&factor)?.f_mul(&first)?; // x0 minus the mean
    let edge = |edge: &Tensor| edge.f_mul(&inverse);
    let below = |x: &Tensor| x.f_special_log_ndtr();
    let lowest = below(&edge(&off.f_add_scalar(HALF_BIN)?)?)?;
    let highest = below(&edge(&off.f_neg()?.f_add_scalar(HALF_BIN)?)?)?;
    // Between two edges, on the side of 0 where the two are small and differ.
    let side = off.f_abs()?.f_neg()?;
    let upper = below(&edge(&side.f_add_scalar(HALF_BIN)?)?)?;
    let lower = below(&edge(&side.f_sub_scalar(HALF_BIN)?)?)?;
    let part = lower.f_sub(&upper)?.f_expm1()?.f_neg()?.f_clamp_min(LEAST)?.f_log()?;
    let mass = upper.f_add(&part)?;
    let mass = lowest.f_where_self(&x0.f_lt(-END)?, &mass)?;
    let mass = highest.f_where_self(&x0.f_gt(END)?, &mass)?;

    let nats = divergence.f_sub(&mass.f_mul(&first)?)?;
    nats.f_mean_dim([1_i64, 2, 3].as_slice(), false, Kind::Double)?.f_div_scalar(LN_2)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::{
        backends::array::Array,
        core::{At, Denoiser, End, Grid, Prediction, Tau},
        likelihood::VariationalBound,
        solvers::Variance,
    };

    /// Predicts this eps and this range, whatever it is asked.
    struct Fixed(Array, Array);

    impl Denoiser for Fixed {
        type State = Array;

        fn predict(&self, _: &Array, _: At) -> crate::core::Result<Array> {
            Ok(self.0.clone())
        }

        fn predict_with_range(&self, _: &Array, _: At) -> crate::core::Result<Prediction<Array>> {
            Ok(Prediction { range: Some(self.1.clone()), ..self.0.clone().into() })
        }
    }

    /// Values of a fixed pattern in [-size, size].
    fn values(seed: usize, size: f64) -> Vec<f64> {
        (0..2 * 2 * 4 * 4).map(|i| size * (1.7 * f64::from(i) + seed as f64).sin()).collect()
    }

    fn tensor(values: &[f64]) -> Tensor {
        Tensor::from_slice(values).reshape([2, 2, 4, 4])
    }

    /// Bytes on [-1, 1], both ends among them.
    fn x0() -> Vec<f64> {
        let byte = |x: f64| (127.5 * (x + 1.0)).round().clamp(0.0, 255.0);
        values(3, 1.3).into_iter().map(|x| byte(x) / 127.5 - 1.0).collect()
    }

    #[test]
    fn a_term_is_that_of_the_likelihood_at_every_timestep_and_of_every_target() {
        let x0 = x0();
        assert!(x0.contains(&-1.0) && x0.contains(&1.0));
        let (eps, range) = (values(5, 1.5), values(9, 1.2));
        let array = |values: &[f64]| Array::from_shape_vec(vec![2, 2, 4, 4], values.to_vec());
        for schedule in
            [Schedule::linear(1e-4, 0.02, 1000), Schedule::cosine(4000)].map(Result::unwrap)
        {
            let steps = schedule.horizon();
            let grid = Grid::new(&schedule, &Tau::LINSPACE, steps, End::Clean).unwrap();
            for t in [0, 1, 2, steps / 2, steps - 1] {
                let level = schedule.level(t as f64).unwrap();
                let (signal, std) = (level.signal(), level.std());
                // A prediction that misses the noise by a third of its bin's width in x0.
                let predicted: Vec<f64> = eps
                    .iter()
                    .zip(values(1, 0.003 * signal / std))
                    .map(|(eps, miss)| eps + miss)
                    .collect();
                let model = Fixed(array(&predicted).unwrap(), array(&range).unwrap());
                let bound = VariationalBound::new(&model, &grid, Variance::Learned).unwrap();
                let expected =
                    bound.term(&array(&x0).unwrap(), &array(&eps).unwrap(), steps - 1 - t).unwrap();
                for target in Predicts::ALL {
                    let error: Vec<f64> = predicted
                        .iter()
                        .zip(&eps)
                        .map(|(predicted, eps)| match target {
                            Predicts::Eps => predicted - eps,
                            Predicts::X0 => -(predicted - eps) * std / signal,
                            Predicts::V => (predicted - eps) / signal,
                        })
                        .collect();
                    let label = t.cast_signed() as i64;
                    let numbers = Terms::new(&schedule, target).of(&[label; 2]).unwrap();
                    let found =
                        bits(&numbers, &tensor(&error), &tensor(&range), &tensor(&x0)).unwrap();
                    for (found, expected) in
                        Vec::<f64>::try_from(found).unwrap().iter().zip(&expected)
                    {
                        let close = (found - expected).abs() <= 1e-7 * expected.abs() + 1e-12;
                        assert!(close, "{target:?} at {t} of {steps}: {found}, {expected}");
                    }
                }
            }
        }
    }

    #[test]
    fn its_gradient_is_the_slope_of_the_term_and_finite_far_away() {
        let schedule = Schedule::linear(1e-4, 0.02, 1000).unwrap();
        let numbers = Terms::new(&schedule, Predicts::Eps).of(&[0, 400]).unwrap();
        let x0 = tensor(&x0());
        let total =
            |error: &Tensor, v: &Tensor| bits(&numbers, error, v, &x0).unwrap().sum(Kind::Double);
        let leaf = |values: Vec<f64>| tensor(&values).set_requires_grad(true);
        let (error, v) = (leaf(values(1, 0.4)), leaf(values(2, 0.9)));
        let gradients = Tensor::run_backward(&[total(&error, &v)], &[&error, &v], false, false);
        let direction = tensor(&values(7, 1.0));
        for (which, gradient) in gradients.iter().enumerate() {
            let slope = (gradient * &direction).sum(Kind::Double).double_value(&[]);
            let at = |h: f64| {
                let moved = |x: &Tensor, k| if k == which { x + h * &direction } else { x.copy() };
                tch::no_grad(|| total(&moved(&error, 0), &moved(&v, 1)).double_value(&[]))
            };
            let expected = (at(1e-6) - at(-1e-6)) / 2e-6;
            assert!((slope - expected).abs() < 1e-6 * (1.0 + expected.abs()), "{slope} {expected}");
        }
        // A prediction that is off by the whole image.
        let (error, v) = (leaf(values(1, 400.0)), leaf(values(2, 3.0)));
        let gradients = Tensor::run_backward(&[total(&error, &v)], &[&error, &v], false, false);
        for gradient in gradients {
            assert!(bool::try_from(gradient.isfinite().all()).unwrap());
        }
        assert_eq!(x0.device(), Device::Cpu);
    }
}
