//! All weights of a network in one vector.
//!
//! An optimiser of two hundred tensors makes a thousand small passes a step; of one vector it
//! makes ten long ones. A network reads its tensors as views, and the gradient with respect to the
//! vector is one concatenation.

use std::collections::BTreeMap;

use ndarray_rand::rand_distr::{Distribution, Uniform};
use tch::{Device, Kind, Tensor};

use crate::core::{Draw, generator};

const FIRST: Draw = Draw::Training { sub: 1 };

/// Names and shapes of tensors that lie one after another, in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    shapes: BTreeMap<String, Vec<i64>>,
}

impl Parameters {
    /// Tensors of these names and shapes.
    pub fn new(shapes: BTreeMap<String, Vec<i64>>) -> Self {
        Self { shapes }
    }

    /// Names and shapes.
    pub fn shapes(&self) -> &BTreeMap<String, Vec<i64>> {
        &self.shapes
    }

    fn sizes(&self) -> Vec<i64> {
        self.shapes.values().map(|shape| shape.iter().product()).collect()
    }

    /// The length of the vector.
    pub fn count(&self) -> i64 {
        self.sizes().iter().sum()
    }

    /// The vector `[P]` as tensors by name: views, through which gradients flow.
    ///
    /// # Errors
    /// When the vector has another length.
    pub fn split(&self, vector: &Tensor) -> Result<BTreeMap<String, Tensor>, tch::TchError> {
        let parts = vector.f_split_with_sizes(self.sizes(), 0)?;
        let named = self.shapes.iter().zip(parts);
        named
            .map(|((name, shape), part)| Ok((name.clone(), part.f_view(shape.as_slice())?)))
            .collect()
    }

    /// Tensors by name as a vector, f32 on the CPU.
    ///
    /// # Errors
    /// What LibTorch refuses.
    ///
    /// # Panics
    /// If one is missing: names and shapes are checked where the tensors are read.
    pub fn join(&self, tensors: &BTreeMap<String, Tensor>) -> Result<Tensor, tch::TchError> {
        let flat = |name: &String| tensors[name].f_to_kind(Kind::Float)?.f_reshape([-1]);
        let parts: Vec<Tensor> = self.shapes.keys().map(flat).collect::<Result<_, _>>()?;
        Tensor::f_cat(&parts, 0)
    }

    /// 1 where a weight belongs to a tensor of two axes and more, and 0 at biases and norms.
    ///
    /// # Errors
    /// What LibTorch refuses.
    pub fn decayed(&self, device: Device) -> Result<Tensor, tch::TchError> {
        let parts: Vec<Tensor> = self
            .shapes
            .values()
            .map(|shape| {
                let value = if shape.len() > 1 { 1.0 } else { 0.0 };
                Tensor::f_full([shape.iter().product()], value, (Kind::Float, device))
            })
            .collect::<Result<_, _>>()?;
        Tensor::f_cat(&parts, 0)
    }

    /// The weights that a training begins with, a pure function of seed and name.
    ///
    /// Convolutions and linear maps, weights and biases, are uniform on
    /// $\pm 1/\sqrt{\text{fan-in}}$ as PyTorch has them; norms scale by 1 and add 0. The layers of
    /// `zero` begin at 0: what is behind them is then the identity.
    ///
    /// # Errors
    /// What LibTorch refuses.
    pub fn first(&self, seed: u64, zero: impl Fn(&str) -> bool) -> Result<Tensor, tch::TchError> {
        let mut values: Vec<f32> = Vec::new();
        for (index, (name, shape)) in self.shapes.iter().enumerate() {
            let (layer, leaf) = name.rsplit_once('.').unwrap_or(("", name));
            let count = usize::try_from(shape.iter().product::<i64>()).unwrap_or(0);
            let of_layer = self.shapes.get(&format!("{layer}.weight")).unwrap_or(shape);
            let fan_in: i64 = of_layer.iter().skip(1).product();
            if zero(layer) {
                values.extend(std::iter::repeat_n(0.0, count));
            } else if of_layer.len() < 2 {
                let value = if leaf == "weight" { 1.0 } else { 0.0 };
                values.extend(std::iter::repeat_n(value, count));
            } else {
                let bound = 1.0 / (fan_in as f64).sqrt();
                let uniform = Uniform::new(-bound, bound);
                let mut generator = generator(seed, index as u64, FIRST);
                #[allow(clippy::cast_possible_truncation)] // the rounded f64 number is meant
                values.extend((0..count).map(|_| uniform.sample(&mut generator) as f32));
            }
        }
        Tensor::f_from_slice(&values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters() -> Parameters {
        Parameters::new(
            [
                ("a.weight", vec![4, 3, 3, 3]),
                ("a.bias", vec![4]),
                ("b.weight", vec![4]),
                ("b.bias", vec![4]),
                ("z.weight", vec![2, 4]),
                ("z.bias", vec![2]),
            ]
            .map(|(name, shape)| (name.to_owned(), shape))
            .into(),
        )
    }

    #[test]
    fn what_is_split_joins_to_the_same_vector() {
        let parameters = parameters();
        assert_eq!(parameters.count(), 108 + 4 + 8 + 8 + 2);
        let vector = parameters.first(7, |_| false).unwrap();
        let parts = parameters.split(&vector).unwrap();
        assert_eq!(parts["a.weight"].size(), [4, 3, 3, 3]);
        assert_eq!(parameters.join(&parts).unwrap(), vector);
    }

    #[test]
    fn first_weights_have_the_spread_of_their_fan_in() {
        let parameters = parameters();
        let parts = parameters.split(&parameters.first(7, |layer| layer == "z").unwrap()).unwrap();
        let bound = 1.0 / 27_f64.sqrt();
        let largest = parts["a.weight"].abs().max().double_value(&[]);
        assert!(largest < bound && largest > 0.9 * bound, "{largest} of {bound}");
        assert!(parts["a.bias"].abs().max().double_value(&[]) < bound);
        assert_eq!(Vec::<f32>::try_from(&parts["b.weight"]).unwrap(), [1.0; 4]);
        assert_eq!(Vec::<f32>::try_from(&parts["b.bias"]).unwrap(), [0.0; 4]);
        assert_eq!(Vec::<f32>::try_from(&parts["z.bias"]).unwrap(), [0.0; 2]);
    }

    #[test]
    fn only_tensors_of_two_axes_decay() {
        let decayed = parameters().decayed(Device::Cpu).unwrap();
        assert!((decayed.sum(Kind::Double).double_value(&[]) - 116.0).abs() < 1e-9);
    }
}
