//! A convolution and the batch normalisation behind it, as one convolution.

use tch::{Device, Kind, Tensor};

use crate::networks::{placement::Layout, weights::Weights};

/// Names of a convolution and its normalisation, and how the convolution moves over an image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Folding<'a> {
    pub conv: &'a str,
    pub norm: &'a str,
    pub eps: f64,
    pub stride: i64,
    pub padding: [i64; 2],
}

/// The folded convolution.
#[derive(Debug)]
pub(super) struct Folded {
    weight: Tensor,
    bias: Tensor,
    stride: i64,
    padding: [i64; 2],
}

impl Folded {
    /// Folds the normalisation, in f64: `w' = w g / sqrt(v + eps)`, `b' = b - m g / sqrt(v + eps)`.
    pub fn new(
        weights: &Weights,
        folding: Folding<'_>,
        device: Device,
    ) -> Result<Self, tch::TchError> {
        let Folding { conv, norm, eps, stride, padding } = folding;
        let tensor = |name: String| weights.tensors[&name].f_to_kind(Kind::Double);
        let norm = |leaf: &str| tensor(format!("{norm}.{leaf}"));
        let scale = norm("weight")?.f_div(&norm("running_var")?.f_add_scalar(eps)?.f_sqrt()?)?;
        let bias = norm("bias")?.f_sub(&norm("running_mean")?.f_mul(&scale)?)?;
        let weight = tensor(format!("{conv}.weight"))?.f_mul(&scale.f_reshape([-1, 1, 1, 1])?)?;
        let put = |x: &Tensor| x.f_to_kind(Kind::Float)?.f_to_device(device);
        let weight = Layout::default().of(&put(&weight)?)?;
        Ok(Self { weight, bias: put(&bias)?, stride, padding })
    }

    pub fn apply(&self, x: &Tensor) -> Result<Tensor, tch::TchError> {
        x.f_conv2d(&self.weight, Some(&self.bias), [self.stride; 2], self.padding, [1; 2], 1)
    }
}
