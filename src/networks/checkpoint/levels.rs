//! The noise levels that a file keeps beside its weights.

/// What a diffusion process that was saved with its network says about its levels.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnLevels {
    /// The buffer's name in the file.
    pub name: String,
    /// alpha_bar of timesteps 0 to T - 1.
    pub alpha_bar: Vec<f64>,
}

/// The buffers that say it, the better one first: products that were rounded to f32 on the way
/// are less exact than those made here.
pub(super) const LEVELS: [&str; 2] = ["betas", "alphas_cumprod"];

impl OwnLevels {
    /// The levels of a buffer's numbers: alpha_bar_t = prod_(s <= t) (1 - beta_s) of betas.
    pub(super) fn of(name: String, mut numbers: Vec<f64>) -> Self {
        if name.ends_with(LEVELS[0]) {
            let mut product = 1.0;
            for number in &mut numbers {
                product *= 1.0 - *number;
                *number = product;
            }
        }
        Self { name, alpha_bar: numbers }
    }
}
