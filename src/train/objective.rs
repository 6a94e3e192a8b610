//! What is learned, as a loss of weights and a batch.

use std::collections::BTreeMap;

use tch::Tensor;

use crate::networks::unet::UnetError;
use crate::train::batch::Batch;

/// The loss of one batch.
#[derive(Debug)]
pub struct Loss {
    /// What is minimised, a scalar with its gradient.
    pub total: Tensor,
    /// What is reported of each image, `[K, N]` without gradient.
    pub each: Tensor,
}

/// What an objective says to inputs that it did not make.
pub(super) fn unfit(inputs: &[Tensor]) -> UnetError {
    let text = format!("{} inputs are not those of the objective", inputs.len());
    tch::TchError::Shape(text).into()
}

/// What weights can be trained for.
pub trait Objective: Send + Sync {
    /// The trained tensors: name and shape.
    fn parameters(&self) -> BTreeMap<String, Vec<i64>>;

    /// Whether a layer begins at 0.
    fn begins_at_zero(&self, layer: &str) -> bool;

    /// What the loss needs of a batch, on the device.
    ///
    /// # Errors
    /// What LibTorch refuses.
    fn inputs(&self, batch: &Batch) -> Result<Vec<Tensor>, tch::TchError>;

    /// The loss of a batch by its [`Objective::inputs`]; `buffers` are tensors that a forward pass
    /// changes without a gradient.
    ///
    /// # Errors
    /// What LibTorch refuses.
    fn loss(
        &self,
        parameters: &BTreeMap<String, Tensor>,
        buffers: &mut BTreeMap<String, Tensor>,
        inputs: &[Tensor],
    ) -> Result<Loss, UnetError>;

    /// The tensors that a forward pass changes, as training begins: running means and variances.
    ///
    /// # Errors
    /// What LibTorch refuses.
    fn buffers(&self) -> Result<BTreeMap<String, Tensor>, tch::TchError> {
        Ok(BTreeMap::new())
    }

    /// Whether a batch may be divided, and its gradient recorded: its loss is the mean of independent
    /// losses of its images, and changes no buffer.
    fn divides(&self) -> bool;

    /// The number of timesteps T; 0 where none are drawn.
    fn horizon(&self) -> usize {
        0
    }

    /// Whether timesteps are drawn where the loss is large: the first reported value is then the loss of
    /// an image, without its weight.
    fn importance(&self) -> bool {
        false
    }

    /// The names of what is reported, means over images.
    fn columns(&self) -> Vec<String>;

    /// Where the k-th reported value of an image at timestep `t` belongs, as positions in `columns`.
    fn belongs(&self, k: usize, t: Option<i64>) -> Vec<usize>;
}
