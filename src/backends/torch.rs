//! `State` and `Noise` for LibTorch tensors: networks, on the CPU and on CUDA.

use ndarray::{Array2, Array4, ArrayD};
use tch::{Device, Kind, Tensor};

use crate::backends::upload;
use crate::core::{Draw, Error, KeyedNoise, Noise, Result, State};

/// The version of LibTorch that the build links.
pub const LIBTORCH: &str = "2.11.0";

impl State for Tensor {
    /// One pass over memory for each term, in place after the first; each coefficient is rounded once, to
    /// the type of the tensor.
    fn lincomb(terms: &[(f64, &Self)]) -> Result<Self> {
        let Some((&(first, x), rest)) = terms.split_first() else {
            return Err(Error::model("a linear combination needs at least one term"));
        };
        if let Some((_, other)) = rest.iter().find(|(_, other)| other.size() != x.size()) {
            return Err(Error::model(format!(
                "shapes differ in a linear combination: {:?} and {:?}",
                x.size(),
                other.size()
            )));
        }
        tch::no_grad(|| {
            let mut sum = x.f_mul_scalar(first)?;
            for &(coefficient, x) in rest {
                // tch's add has no factor. A tensor of rank 0 is one: sum + x * coefficient.
                let factor = Tensor::f_full([], coefficient, (sum.f_kind()?, sum.device()))?;
                sum = sum.f_addcmul_(x, &factor)?;
            }
            Ok(sum)
        })
        .map_err(|error: tch::TchError| Error::model(error))
    }

    fn clamp(&self, low: f64, high: f64) -> Result<Self> {
        self.f_clamp(low, high).map_err(Error::model)
    }

    fn mul_exp(&self, v: &Self, a: f64, b: f64) -> Result<Self> {
        if self.size() != v.size() {
            return Err(Error::model(format!(
                "shapes differ in a scaling: {:?} and {:?}",
                self.size(),
                v.size()
            )));
        }
        let scaled = || v.f_mul_scalar(a)?.f_add_scalar_(b)?.f_exp_()?.f_mul_(self);
        tch::no_grad(scaled).map_err(|error: tch::TchError| Error::model(error))
    }

    fn rms(&self) -> Result<Vec<f64>> {
        let rows = self.size().first().copied().unwrap_or(1);
        let rms = || {
            // In f64: the squares of an f32 sample need not fit its type.
            let squares = self.f_to_kind(Kind::Double)?.f_square()?.f_reshape([rows, -1])?;
            let rms = squares.f_mean_dim(1, false, Kind::Double)?.f_sqrt()?;
            Vec::try_from(rms.f_to_device(Device::Cpu)?)
        };
        tch::no_grad(rms).map_err(|error: tch::TchError| Error::model(error))
    }

    fn is_finite(&self) -> Result<bool> {
        let all = self.f_isfinite().and_then(|finite| finite.f_all()?.f_int64_value(&[]));
        Ok(all.map_err(Error::model)? != 0)
    }

    fn first_not_finite(&self) -> Result<Option<usize>> {
        let rows = self.size().first().copied().unwrap_or(1);
        let finite = || -> std::result::Result<Vec<bool>, tch::TchError> {
            let finite = self.f_isfinite()?.f_reshape([rows, -1])?.f_all_dim(1, false)?;
            Vec::try_from(finite.f_to_device(Device::Cpu)?)
        };
        let finite = tch::no_grad(finite).map_err(|error: tch::TchError| Error::model(error))?;
        Ok(finite.into_iter().position(|finite| !finite))
    }
}

impl Noise<Tensor> for KeyedNoise {
    /// Drawn on the host and copied to the place of `like`: the same values on every device.
    fn draw(&self, like: &Tensor, draw: Draw) -> Result<Tensor> {
        let size = like.size();
        let rows = size.first().map_or(1, |&n| usize::try_from(n).unwrap_or(0));
        let host = match like.f_kind().map_err(Error::model)? {
            Kind::Float => {
                let mut out = vec![0.0_f32; like.numel()];
                #[allow(clippy::cast_possible_truncation)] // the rounded f64 normal is meant
                self.fill(&mut out, rows, draw, |z| z as f32);
                Tensor::f_from_slice(&out)
            }
            Kind::Double => {
                let mut out = vec![0.0_f64; like.numel()];
                self.fill(&mut out, rows, draw, |z| z);
                Tensor::f_from_slice(&out)
            }
            other => return Err(Error::model(format!("a state is f32 or f64, not {other:?}"))),
        };
        host.and_then(|noise| upload::upload(&noise.f_reshape(&size)?, like.device()))
            .map_err(Error::model)
    }

    fn first(&self) -> u64 {
        self.first
    }
}

/// Host images `[N, C, H, W]` as an f32 tensor on a device.
///
/// # Errors
/// If the device has no room.
pub fn from_images(images: &Array4<f32>, device: Device) -> Result<Tensor> {
    let host = Tensor::try_from(images).map_err(Error::model)?;
    host.f_to_device(device).map_err(Error::model)
}

/// Host values `[N, C, H, W]` as a state of a kind on a device.
///
/// # Errors
/// If the device has no room.
pub fn from_states(x: &Array4<f64>, kind: Kind, device: Device) -> Result<Tensor> {
    // Rounded on the host, to copy half the bytes.
    let host = Tensor::try_from(x).and_then(|x| x.f_to_kind(kind));
    host.and_then(|x| x.f_to_device(device)).map_err(Error::model)
}

/// A state `[N, C, H, W]` on the host, where f64 holds it without loss.
///
/// # Errors
/// If the state has another rank.
pub fn to_states(x: &Tensor) -> Result<Array4<f64>> {
    let host = x.f_to_device(Device::Cpu).and_then(|x| x.f_to_kind(Kind::Double)?.f_contiguous());
    let host: ArrayD<f64> = (&host.map_err(Error::model)?).try_into().map_err(Error::model)?;
    host.into_dimensionality().map_err(Error::model)
}

/// A matrix on the host, in f32.
///
/// # Errors
/// If the tensor is not a matrix.
pub fn to_matrix(x: &Tensor) -> Result<Array2<f32>> {
    host_array(x)?.into_dimensionality().map_err(Error::model)
}

fn host_array(x: &Tensor) -> Result<ArrayD<f32>> {
    let host = x.f_to_device(Device::Cpu).and_then(|x| x.f_to_kind(Kind::Float)?.f_contiguous());
    (&host.map_err(Error::model)?).try_into().map_err(|error: tch::TchError| Error::model(error))
}

/// What LibTorch said, without the C++ stack that follows.
pub fn first_line(error: &tch::TchError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn values(tensor: &Tensor) -> Vec<f64> {
        Vec::try_from(tensor.to_kind(Kind::Double).flatten(0, -1)).unwrap()
    }

    #[test]
    fn the_largest_rms_is_that_of_arrays_and_hands_on_what_is_not_finite() {
        let samples = [[3.0, -4.0, 0.0, 0.0], [1.0, 1.0, -1.0, 2.0]];
        let array = ndarray::arr2(&samples).into_dyn();
        assert!((array.largest_rms().unwrap() - 2.5).abs() < 1e-15);
        for kind in [Kind::Float, Kind::Double] {
            let tensor = Tensor::from_slice2(&samples).to_kind(kind).reshape([2, 1, 2, 2]);
            assert!((tensor.largest_rms().unwrap() - 2.5).abs() < 1e-15);
        }
        for bad in [f64::NAN, f64::INFINITY] {
            let samples = [[bad, 1.0], [2.0, 3.0]];
            assert!(!ndarray::arr2(&samples).into_dyn().largest_rms().unwrap().is_finite());
            assert!(!Tensor::from_slice2(&samples).largest_rms().unwrap().is_finite());
        }
    }

    #[test]
    fn a_linear_combination_is_the_sum_of_scaled_terms_and_leaves_them_alone() {
        for kind in [Kind::Float, Kind::Double] {
            let x = Tensor::from_slice(&[1.0, -2.0, 0.5]).to_kind(kind);
            let y = Tensor::from_slice(&[0.25, 8.0, -1.0]).to_kind(kind);
            let sum = Tensor::lincomb(&[(2.0, &x), (-0.5, &y), (1.0, &x)]).unwrap();
            assert_eq!((sum.kind(), sum.size()), (kind, vec![3]));
            approx::assert_abs_diff_eq!(values(&sum)[..], [2.875, -10.0, 2.0]);
            approx::assert_abs_diff_eq!(values(&x)[..], [1.0, -2.0, 0.5]);
        }
    }

    #[test]
    fn terms_of_different_shapes_are_refused_and_not_broadcast() {
        let x = Tensor::zeros([2, 3], (Kind::Float, Device::Cpu));
        let error = Tensor::lincomb(&[(1.0, &x), (1.0, &x.narrow(0, 0, 1))]).unwrap_err();
        assert!(error.to_string().contains("[2, 3] and [1, 3]"), "{error}");
        assert!(Tensor::lincomb(&[]).is_err());
    }

    #[test]
    fn a_scaling_by_an_exponential_is_that_of_arrays() {
        let (x, v) = ([1.0, -2.0, 0.5, 3.0], [-1.0, 1.0, 0.25, 0.0]);
        let array = |values: [f64; 4]| ndarray::arr1(&values).into_dyn();
        let exact = array(x).mul_exp(&array(v), 0.5, -0.75).unwrap();
        let expected = [(-1.25_f64).exp(), -2.0 * (-0.25_f64).exp()];
        approx::assert_abs_diff_eq!(exact.as_slice().unwrap()[..2], expected, epsilon = 1e-15);
        for (kind, epsilon) in [(Kind::Float, 1e-6), (Kind::Double, 1e-15)] {
            let tensor = |values: &[f64]| Tensor::from_slice(values).to_kind(kind);
            let range = tensor(&v);
            let scaled = tensor(&x).mul_exp(&range, 0.5, -0.75).unwrap();
            assert_eq!(scaled.kind(), kind);
            approx::assert_abs_diff_eq!(
                values(&scaled)[..],
                exact.as_slice().unwrap()[..],
                epsilon = epsilon
            );
            // What it was given is left alone.
            approx::assert_abs_diff_eq!(values(&range)[..], v, epsilon = epsilon);
            assert!(tensor(&x).mul_exp(&range.narrow(0, 0, 1), 0.5, -0.75).is_err());
        }
        assert!(array(x).mul_exp(&ndarray::arr1(&[1.0]).into_dyn(), 0.5, -0.75).is_err());
    }

    #[test]
    fn a_clamp_and_a_check_see_every_element() {
        let x = Tensor::from_slice(&[-3.0_f32, 0.5, 2.0]);
        approx::assert_abs_diff_eq!(
            values(&State::clamp(&x, -1.0, 1.0).unwrap())[..],
            [-1.0, 0.5, 1.0]
        );
        assert!(State::is_finite(&x).unwrap());
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(!State::is_finite(&Tensor::from_slice(&[0.0, bad])).unwrap());
        }
    }

    #[test]
    fn the_noise_is_the_host_noise_rounded_to_the_type_of_the_state() {
        let noise = KeyedNoise { seed: 3, first: 5 };
        let mut expected = vec![0.0; 12];
        noise.fill(&mut expected, 2, Draw::Initial, |z| z);
        let state = Tensor::zeros([2, 3, 1, 2], (Kind::Double, Device::Cpu));
        let exact = noise.draw(&state, Draw::Initial).unwrap();
        assert_eq!((exact.size(), values(&exact)), (vec![2, 3, 1, 2], expected.clone()));
        let rounded = noise.draw(&state.to_kind(Kind::Float), Draw::Initial).unwrap();
        assert_eq!(rounded.kind(), Kind::Float);
        approx::assert_abs_diff_eq!(values(&rounded)[..], expected[..], epsilon = 1e-6);
    }
}
