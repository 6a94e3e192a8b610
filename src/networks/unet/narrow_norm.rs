//! Group normalisation in bf16 on a CPU, where LibTorch's own is slow.
//!
//! On channels-last images of fewer than 1024 pixels LibTorch goes through each group of each pixel by
//! itself, and takes a group narrower than a vector, 16 numbers of bf16, number by number: 16 images of
//! 16 x 16 with 128 channels cost 6.1 ms with SiLU, and 0.7 ms here, where all channels of a pixel are
//! read together, in f32.

use tch::{Device, Kind, Tensor};

use crate::backends::fused::Norm;

/// The pixels from which LibTorch reads all channels together.
const LARGE: i64 = 1024;

/// The numbers in a vector of LibTorch's kernel.
const LANES: i64 = 16;

/// Whether this is one of the slow cases, and no gradient is wanted.
pub(super) fn applies(norm: &Norm<'_>, x: &Tensor) -> bool {
    let (size, stride) = (x.size(), x.stride());
    x.device() == Device::Cpu
        && x.kind() == Kind::BFloat16
        && stride[1] == 1
        && size[2] * size[3] < LARGE
        && (size[1] / norm.groups) % LANES != 0
        && !x.requires_grad()
}

/// The normalised images in f32, `[N, C, H, W]` channels-last.
///
/// The variance is the mean square less the square of the mean, as LibTorch takes it. What that loses
/// where the mean is large is below what rounding to bf16 has added to the variance before.
pub(super) fn apply(norm: &Norm<'_>, x: &Tensor) -> Result<Tensor, tch::TchError> {
    let (n, c, height, width) = x.size4()?;
    let pixels = height * width;
    let wide = c / norm.groups;
    let x = x.f_permute([0, 2, 3, 1])?.f_reshape([n, pixels, c])?.f_to_kind(Kind::Float)?;
    let mean = |x: &Tensor| {
        let channels = x.f_sum_dim_intlist([1_i64].as_slice(), false, Kind::Float)?;
        let groups = channels.f_view([n, norm.groups, wide])?;
        groups.f_mean_dim([2_i64].as_slice(), true, Kind::Float)?.f_div_scalar(pixels)
    };
    let (center, square) = (mean(&x)?, mean(&x.f_square()?)?);
    let variance = square.f_sub(&center.f_square()?)?.f_clamp_min(0.0)?;
    let weight = norm.weight.f_to_kind(Kind::Float)?.f_view([1, norm.groups, wide])?;
    let bias = norm.bias.f_to_kind(Kind::Float)?.f_view([1, norm.groups, wide])?;
    let scale = variance.f_add_scalar(norm.eps)?.f_rsqrt()?.f_mul(&weight)?;
    let shift = bias.f_sub(&center.f_mul(&scale)?)?.f_reshape([n, 1, c])?;
    let y = shift.f_addcmul(&x, &scale.f_reshape([n, 1, c])?)?;
    y.f_view([n, height, width, c])?.f_permute([0, 3, 1, 2])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::networks::placement::Layout;

    fn values(shape: &[i64], center: f64) -> Tensor {
        let n = shape.iter().product::<i64>();
        let x = Tensor::arange(n, (Kind::Double, Device::Cpu)) * 0.7371;
        let x = (x.sin() * 1.5 + center).reshape(shape).to_kind(Kind::BFloat16);
        Layout::ChannelsLast.of(&x).unwrap()
    }

    /// Weight and bias of 24 channels, as numbers that bf16 holds.
    fn weights() -> [Tensor; 2] {
        let channels = Tensor::arange(24, (Kind::BFloat16, Device::Cpu));
        [&channels / 16.0 + 0.5, &channels / -8.0]
    }

    /// In groups of 3.
    fn norm([weight, bias]: &[Tensor; 2]) -> Norm<'_> {
        Norm { weight, bias, groups: 8, eps: 1e-6, silu: false }
    }

    fn exactly(norm: &Norm<'_>, x: &Tensor) -> Tensor {
        let double = |x: &Tensor| x.to_kind(Kind::Double);
        let (weight, bias) = (double(norm.weight), double(norm.bias));
        double(x).group_norm(norm.groups, Some(weight), Some(bias), norm.eps, true)
    }

    #[test]
    fn it_is_group_normalisation_in_single_precision() {
        let weights = weights();
        let norm = norm(&weights);
        for (center, tolerance) in [(0.0, 2e-6), (-2.0, 1e-5), (50.0, 5e-3)] {
            let x = values(&[3, 24, 6, 4], center);
            assert!(applies(&norm, &x));
            let y = apply(&norm, &x).unwrap();
            assert_eq!((y.kind(), y.stride()[1]), (Kind::Float, 1));
            let difference = (y - exactly(&norm, &x)).abs().max().double_value(&[]);
            assert!(difference < tolerance, "{difference:e} at {center}");
        }
    }

    #[test]
    fn images_of_one_value_become_the_bias() {
        let weights = weights();
        let norm = norm(&weights);
        let x = Layout::ChannelsLast.of(&values(&[2, 24, 4, 4], 0.0).fill(3.0)).unwrap();
        let y = apply(&norm, &x).unwrap();
        let bias = norm.bias.to_kind(Kind::Float).reshape([1, 24, 1, 1]);
        let difference = (y - bias).abs().max().double_value(&[]);
        // eps stands under the root: what rounding leaves of a zero variance is multiplied by 1000.
        assert!(difference < 1e-2, "{difference:e}");
    }

    #[test]
    fn only_the_slow_cases_of_bf16_are_taken() {
        let weights = weights();
        let norm = norm(&weights);
        let x = values(&[2, 24, 6, 4], 0.0);
        assert!(applies(&norm, &x));
        assert!(!applies(&norm, &x.to_kind(Kind::Float)));
        assert!(!applies(&norm, &x.contiguous()));
        assert!(!applies(&norm, &values(&[1, 24, 32, 32], 0.0)));
        assert!(!applies(&norm, &x.set_requires_grad(true)));
        let wide = values(&[2, 128, 6, 4], 0.0);
        assert!(!applies(&norm, &wide));
    }
}
