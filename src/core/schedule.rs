//! From timesteps to noise levels.
//!
//! Every schedule here is a table of $\bar\alpha_t = \prod_{s \le t} (1 - \beta_s)$ for the timesteps
//! 0 .. T-1, kept in f64. Between two timesteps sigma is interpolated linearly in t (as diffusers'
//! Heun scheduler does with `linspace`), and the timestep of a given sigma is found linearly in log
//! sigma (as it does for Karras spacings). The two rules differ, as in diffusers.

use crate::core::{CLEAN, Error, Level, Result};

/// A noise schedule: $\bar\alpha$ for the timesteps 0 .. T-1.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    alpha_bar: Vec<f64>,
}

impl Schedule {
    /// $\beta_t$ linear from `beta_start` to `beta_end`, all in f64.
    ///
    /// # Errors
    /// A range that leaves (0, 1), or fewer than two timesteps.
    ///
    /// # References
    /// Ho, Jain, Abbeel, *Denoising Diffusion Probabilistic Models*, NeurIPS 2020, section 4
    /// (1e-4 to 0.02, T = 1000).
    pub fn linear(beta_start: f64, beta_end: f64, horizon: usize) -> Result<Self> {
        Self::from_betas(&linspace(beta_start, beta_end, horizon)?)
    }

    /// The linear schedule of the official DDIM code: betas rounded to f32, and
    /// $1 - \beta$ taken in f32, before the product.
    ///
    /// The product itself is kept in f64.
    ///
    /// # Errors
    /// As [`Schedule::linear`].
    pub fn linear_f32(beta_start: f64, beta_end: f64, horizon: usize) -> Result<Self> {
        #[allow(clippy::cast_possible_truncation, reason = "the rounding to f32 is the point")]
        let betas: Vec<f64> = linspace(beta_start, beta_end, horizon)?
            .iter()
            .map(|&beta| 1.0 - f64::from(1.0_f32 - beta as f32))
            .collect();
        Self::from_betas(&betas)
    }

    /// $\sqrt{\beta_t}$ linear from $\sqrt{\beta_\text{start}}$ to $\sqrt{\beta_\text{end}}$.
    ///
    /// # Errors
    /// As [`Schedule::linear`].
    ///
    /// # References
    /// Rombach et al., *High-Resolution Image Synthesis with Latent Diffusion Models*, CVPR 2022
    /// (0.00085 to 0.012, T = 1000).
    pub fn scaled_linear(beta_start: f64, beta_end: f64, horizon: usize) -> Result<Self> {
        let roots = linspace(beta_start.sqrt(), beta_end.sqrt(), horizon)?;
        Self::from_betas(&roots.iter().map(|root| root * root).collect::<Vec<_>>())
    }

    /// $\beta_t = \min(1 - f(t+1)/f(t),\,0.999)$ with
    /// $f(t) = \cos^2\!\left(\frac{t/T + 0.008}{1.008}\cdot\frac{\pi}{2}\right)$.
    ///
    /// # Errors
    /// Fewer than two timesteps.
    ///
    /// # References
    /// Nichol, Dhariwal, *Improved Denoising Diffusion Probabilistic Models*, ICML 2021, Eq. (17).
    pub fn cosine(horizon: usize) -> Result<Self> {
        check_horizon(horizon)?;
        let f = |t: usize| {
            let angle = (t as f64 / horizon as f64 + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2;
            angle.cos().powi(2)
        };
        let betas: Vec<f64> = (0..horizon).map(|t| (1.0 - f(t + 1) / f(t)).min(0.999)).collect();
        Self::from_betas(&betas)
    }

    /// $\beta_t = \beta_\text{start} + (\beta_\text{end} - \beta_\text{start})\,
    /// \operatorname{sigmoid}(u_t)$ with u linear from -6 to 6.
    ///
    /// # Errors
    /// As [`Schedule::linear`].
    ///
    /// # References
    /// Xu et al., *GeoDiff*, ICLR 2022, and ermongroup/ddim (`beta_schedule: sigmoid`).
    pub fn sigmoid(beta_start: f64, beta_end: f64, horizon: usize) -> Result<Self> {
        let betas: Vec<f64> = linspace(-6.0, 6.0, horizon)?
            .iter()
            .map(|u| beta_start + (beta_end - beta_start) / (1.0 + (-u).exp()))
            .collect();
        Self::from_betas(&betas)
    }

    /// The same schedule, shifted and scaled to $\bar\alpha_{T-1} = 0$ (zero terminal SNR).
    ///
    /// $$\sqrt{\bar\alpha'_t} = \left(\sqrt{\bar\alpha_t} - \sqrt{\bar\alpha_{T-1}}\right)
    /// \frac{\sqrt{\bar\alpha_0}}{\sqrt{\bar\alpha_0} - \sqrt{\bar\alpha_{T-1}}}$$
    ///
    /// At its last timestep sigma is infinite, and only models of v or x0 can be used.
    ///
    /// # References
    /// Lin, Liu, Li, Yang, *Common Diffusion Noise Schedules and Sample Steps are Flawed*, WACV 2024,
    /// algorithm 1.
    #[must_use]
    pub fn zero_terminal_snr(&self) -> Self {
        let roots: Vec<f64> = self.alpha_bar.iter().map(|a| a.sqrt()).collect();
        let (first, last) = (roots[0], roots[roots.len() - 1]);
        let scale = first / (first - last);
        let alpha_bar = roots.iter().map(|root| ((root - last) * scale).powi(2)).collect();
        Self { alpha_bar }
    }

    /// $\bar\alpha_t = \prod_{s \le t}(1-\beta_s)$ for any betas.
    ///
    /// # Errors
    /// Fewer than two betas, or one outside (0, 1).
    pub fn from_betas(betas: &[f64]) -> Result<Self> {
        check_horizon(betas.len())?;
        let mut alpha_bar = Vec::with_capacity(betas.len());
        let mut product = 1.0;
        for (t, &beta) in betas.iter().enumerate() {
            if !(beta > 0.0 && beta < 1.0) {
                return Err(Error::Schedule(format!("beta at t = {t} is {beta}, outside (0, 1)")));
            }
            product *= 1.0 - beta;
            alpha_bar.push(product);
        }
        Ok(Self { alpha_bar })
    }

    /// T, the number of timesteps.
    pub fn horizon(&self) -> usize {
        self.alpha_bar.len()
    }

    /// The level of a timestep; between two timesteps sigma is linear in t, from -1 (clean) on.
    ///
    /// # Errors
    /// A timestep outside [-1, T-1], or one between two timesteps of which the second has infinite sigma.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the timestep is checked to lie in [-1, T-1]"
    )]
    pub fn level(&self, t: f64) -> Result<Level> {
        let last = self.horizon() - 1;
        if !(-1.0..=last as f64).contains(&t) {
            return Err(Error::Timestep { t, last });
        }
        let below = t.floor();
        let weight = t - below;
        let at = |timestep: f64| {
            if timestep < 0.0 {
                CLEAN
            } else {
                Level { t: timestep, alpha_bar: self.alpha_bar[timestep as usize] }
            }
        };
        if weight <= 0.0 {
            return Ok(at(below));
        }
        if at(below + 1.0).is_pure_noise() {
            return Err(Error::Schedule(format!(
                "there is no level between t = {below} and t = {last}, where alpha_bar = 0 and sigma \
                 is infinite"
            )));
        }
        let sigma = (1.0 - weight) * at(below).sigma() + weight * at(below + 1.0).sigma();
        Ok(Level::from_sigma(t, sigma))
    }

    /// The level of a sigma: exact in sigma, its timestep linear in log sigma between two timesteps and
    /// clamped to [0, T-1]; sigma = 0 is the clean end.
    ///
    /// # Errors
    /// A sigma that is negative or not finite, and one above the last finite sigma of a schedule of
    /// zero terminal SNR.
    pub fn level_at_sigma(&self, sigma: f64) -> Result<Level> {
        if !(sigma >= 0.0 && sigma.is_finite()) {
            return Err(Error::Schedule(format!("sigma = {sigma} is not a noise level")));
        }
        if sigma <= 0.0 {
            return Ok(CLEAN);
        }
        let log = |timestep: usize| -Level { t: 0.0, alpha_bar: self.alpha_bar[timestep] }.lambda();
        let mut last = self.horizon() - 1;
        if self.alpha_bar[last] <= 0.0 {
            last -= 1;
            let top = Level { t: 0.0, alpha_bar: self.alpha_bar[last] }.sigma();
            if last == 0 || sigma > top {
                return Err(Error::Schedule(format!(
                    "sigma = {sigma} is above {top:.3}, the largest finite sigma of this schedule of zero \
                     terminal SNR"
                )));
            }
        }
        let upper =
            self.alpha_bar.partition_point(|&a| ((1.0 - a) / a).sqrt() < sigma).clamp(1, last);
        let (low, high) = (log(upper - 1), log(upper));
        let weight = ((sigma.ln() - low) / (high - low)).clamp(0.0, 1.0);
        Ok(Level::from_sigma((upper - 1) as f64 + weight, sigma))
    }
}

fn check_horizon(horizon: usize) -> Result<()> {
    if horizon < 2 {
        return Err(Error::Schedule(format!(
            "T = {horizon}: a schedule has at least two timesteps"
        )));
    }
    Ok(())
}

fn linspace(start: f64, end: f64, n: usize) -> Result<Vec<f64>> {
    check_horizon(n)?;
    let step = (end - start) / (n - 1) as f64;
    Ok((0..n).map(|i| if i == n - 1 { end } else { start + i as f64 * step }).collect())
}
