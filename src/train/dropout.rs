//! Dropout whose masks are a function of (seed, image, layer, place).
//!
//! A mask must not depend on a generator's state, or a training could not continue from a checkpoint
//! to the same weights. Each image and layer has a key, and a value is dropped if a hash of key and
//! place lies below p: the same masks for every batch, every device and every resumed run.

use rand::RngCore;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use crate::core::{Draw, generator};
use crate::{backends::fused::Dropped, networks::unet, train::settings::Denoiser};

const KEYS: Draw = Draw::Training { sub: 2 };

/// Multipliers and shifts of a 32-bit hash with a small bias (Wellons 2018, "lowbias32").
const MULTIPLIERS: [u32; 2] = [0x7feb_352d, 0x846c_a68b];
const SHIFTS: [u32; 3] = [16, 15, 16];

/// Spreads neighbouring places over the numbers.
const PLACE: u32 = 0x9e37_79b1;

/// The masks of one batch.
#[derive(Debug)]
pub struct Dropout {
    /// The bits of a key for each layer of each image, int32 `[layers, N]`.
    keys: Tensor,
    /// What a hash must reach to keep a value.
    threshold: u32,
    /// What kept values are multiplied by, $1 / (1 - p)$.
    factor: f64,
}

/// The number of residual blocks of a network.
pub fn layers(denoiser: &Denoiser) -> usize {
    let shapes = denoiser.network.tensors();
    shapes.keys().filter(|name| name.ends_with(".conv2.weight")).count()
}

/// The keys of the images `first..first + n`, for a network of `layers` layers: int32 `[layers, N]`.
///
/// # Errors
/// What LibTorch refuses.
pub fn keys(seed: u64, first: u64, n: usize, layers: usize) -> Result<Tensor, tch::TchError> {
    let mut keys = vec![0_i32; layers * n];
    for i in 0..n {
        let mut generator = generator(seed, first + i as u64, KEYS);
        for layer in 0..layers {
            keys[layer * n + i] = generator.next_u32().cast_signed();
        }
    }
    let rows = [layers, n].map(|side| side.cast_signed() as i64);
    Tensor::f_from_slice(&keys)?.f_reshape(rows)
}

impl Dropout {
    /// The masks of the images with those [`keys`], which drop a value with probability p.
    pub fn new(keys: &Tensor, p: f64) -> Self {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // p is in [0, 1)
        let threshold = (p * 4_294_967_296.0).round().min(4_294_967_295.0) as u32;
        Self { keys: keys.shallow_clone(), threshold, factor: 1.0 / (1.0 - p) }
    }

    fn row(&self, layer: usize) -> Result<Tensor, tch::TchError> {
        self.keys.f_get(layer.cast_signed() as i64)
    }

    /// The mask as the processor computes it. Places count channels fastest, then columns: the
    /// order in which activations lie in memory.
    fn on_host(&self, layer: usize, x: &Tensor) -> Result<Tensor, tch::TchError> {
        let (n, c, h, w) = x.size4()?;
        let places = usize::try_from(c * h * w).unwrap_or(0);
        let keys: Vec<i32> = self.row(layer)?.try_into()?;
        let Self { threshold, factor, .. } = *self;
        let mut mask = vec![0_f32; x.numel()];
        #[allow(clippy::cast_possible_truncation)]
        mask.par_chunks_mut(places.max(1)).zip(&keys).for_each(|(mask, key)| {
            for (place, value) in mask.iter_mut().enumerate() {
                let kept = hash(key.cast_unsigned(), place as u32) >= threshold;
                *value = if kept { factor as f32 } else { 0.0 };
            }
        });
        let mask = Tensor::f_from_slice(&mask)?.f_reshape([n, h, w, c])?.f_permute([0, 3, 1, 2])?;
        mask.f_to_kind(x.f_kind()?)
    }

    /// The same mask in tensor operations: 64-bit integers hold the products of 32-bit ones.
    fn on_device(&self, layer: usize, x: &Tensor) -> Result<Tensor, tch::TchError> {
        const LOW: i64 = 0xffff_ffff;
        let (n, c, h, w) = x.size4()?;
        let keys = self.row(layer)?.f_to_kind(Kind::Int64)?.f_bitwise_and(LOW)?.f_unsqueeze(1)?;
        let places = Tensor::f_arange(c * h * w, (Kind::Int64, x.device()))?;
        let low = |x: Tensor| x.f_bitwise_and(LOW);
        let fold = |x: Tensor, shift: u32| {
            let shifted = x.f_bitwise_right_shift_tensor_scalar(i64::from(shift))?;
            x.f_bitwise_xor_tensor(&shifted)
        };
        // A multiplier of 2^31 and more is taken as the negative number of the same residue.
        let times = |x: Tensor, factor: u32| low(x.f_mul_scalar(i64::from(factor.cast_signed()))?);
        let mut x32 = low(places.f_mul_scalar(i64::from(PLACE.cast_signed()))?.f_add(&keys)?)?;
        for (shift, multiplier) in SHIFTS.into_iter().zip(MULTIPLIERS) {
            x32 = times(fold(x32, shift)?, multiplier)?;
        }
        let kept = fold(x32, SHIFTS[2])?.f_ge(i64::from(self.threshold))?;
        let mask = kept.f_to_kind(x.f_kind()?)?.f_mul_scalar(self.factor)?;
        mask.f_reshape([n, h, w, c])?.f_permute([0, 3, 1, 2])
    }
}

impl unet::Dropout for Dropout {
    fn apply(&self, layer: usize, x: &Tensor) -> Result<Tensor, tch::TchError> {
        let mask = match x.device() {
            Device::Cpu => self.on_host(layer, x)?,
            _ => self.on_device(layer, x)?,
        };
        x.f_mul(&mask)
    }

    fn of_kernel(&self, layer: usize) -> Result<Dropped, tch::TchError> {
        let Self { threshold, factor, .. } = *self;
        Ok(Dropped { keys: self.row(layer)?, threshold, factor })
    }
}

fn hash(key: u32, place: u32) -> u32 {
    let mut x = place.wrapping_mul(PLACE).wrapping_add(key);
    for (shift, multiplier) in SHIFTS.into_iter().zip(MULTIPLIERS) {
        x = (x ^ (x >> shift)).wrapping_mul(multiplier);
    }
    x ^ (x >> SHIFTS[2])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::networks::unet::Dropout as _;

    fn ones() -> Tensor {
        Tensor::ones([6, 8, 16, 16], (Kind::Float, Device::Cpu))
    }

    #[test]
    fn host_and_device_compute_the_same_masks() {
        let dropout = Dropout::new(&keys(5, 100, 6, 3).unwrap(), 0.3);
        for layer in 0..3 {
            let (host, device) =
                (dropout.on_host(layer, &ones()), dropout.on_device(layer, &ones()));
            assert_eq!(host.unwrap(), device.unwrap());
        }
    }

    #[test]
    fn a_mask_belongs_to_its_image_and_layer_and_drops_p() {
        let masks = |first, n| {
            let dropout = Dropout::new(&keys(5, first, n, 2).unwrap(), 0.3);
            let x =
                Tensor::ones([i64::try_from(n).unwrap(), 8, 16, 16], (Kind::Float, Device::Cpu));
            [dropout.apply(0, &x).unwrap(), dropout.apply(1, &x).unwrap()]
        };
        let [first, second] = masks(100, 6);
        assert_ne!(first, second);
        assert_eq!(masks(103, 1)[0], first.narrow(0, 3, 1));
        assert_ne!(first.get(0), first.get(1));
        // 12288 values: four standard errors of the part that is dropped.
        let dropped = first.eq(0.0).to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
        assert!((dropped - 0.3).abs() < 4.0 * (0.21_f64 / 12288.0).sqrt(), "{dropped}");
        let kept = first.max().double_value(&[]);
        assert!((kept - 1.0 / 0.7).abs() < 1e-6);
    }
}
