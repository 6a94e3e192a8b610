//! The loss of a classifier: the cross entropy of its class scores.
//!
//! The network is [`crate::networks::classifier`]'s with batch normalisation as it is trained: by the
//! statistics of the batch, which running means follow for later use.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

use crate::backends::upload::upload;
use crate::networks::{
    classifier::{Architecture, Layer},
    placement::Placement,
    unet::UnetError,
};
use crate::train::{
    batch::Batch,
    objective::{Loss, Objective, unfit},
    settings::Classifier,
};

/// How far running statistics move towards those of a batch.
const MOMENTUM: f64 = 0.1;

/// Cross entropy, and the share of images whose highest score is that of another class.
#[derive(Debug)]
pub struct ClassifierLoss {
    architecture: Architecture,
    placement: Placement,
}

impl ClassifierLoss {
    /// The loss of a classifier, on a device.
    pub fn new(learner: Classifier, placement: Placement) -> Self {
        Self {
            architecture: Architecture::cifar(learner.depth, learner.widths, learner.classes),
            placement,
        }
    }
}

/// Whether a tensor is a statistic of batch normalisation, which no gradient changes.
fn is_buffer(name: &str) -> bool {
    name.ends_with(".running_mean") || name.ends_with(".running_var")
}

impl Objective for ClassifierLoss {
    fn parameters(&self) -> BTreeMap<String, Vec<i64>> {
        self.architecture.tensors().into_iter().filter(|(name, _)| !is_buffer(name)).collect()
    }

    fn begins_at_zero(&self, _: &str) -> bool {
        false
    }

    fn buffers(&self) -> Result<BTreeMap<String, Tensor>, tch::TchError> {
        let place = (Kind::Float, self.placement.device);
        let buffers = self.architecture.tensors().into_iter().filter(|(name, _)| is_buffer(name));
        buffers
            .map(|(name, shape)| {
                let first = if name.ends_with("_mean") { 0.0 } else { 1.0 };
                Ok((name, Tensor::f_full(shape, first, place)?))
            })
            .collect()
    }

    /// The images' bytes and their classes.
    fn inputs(&self, batch: &Batch) -> Result<Vec<Tensor>, tch::TchError> {
        let shape = batch.shape.map(|side| side.cast_signed() as i64);
        let host = [
            Tensor::f_from_slice(&batch.images)?.f_reshape(shape)?,
            Tensor::f_from_slice(&batch.classes)?,
        ];
        host.iter().map(|host| upload(host, self.placement.device)).collect()
    }

    fn loss(
        &self,
        parameters: &BTreeMap<String, Tensor>,
        buffers: &mut BTreeMap<String, Tensor>,
        inputs: &[Tensor],
    ) -> Result<Loss, UnetError> {
        let [bytes, classes] = inputs else { return Err(unfit(inputs)) };
        let images = bytes.f_to_kind(Kind::Float)?.f_div_scalar_(255.0)?;
        let none = None::<&Tensor>;
        let layer = |x: &Tensor, Layer { conv, norm, stride }: Layer<'_>| {
            let kernel = &parameters[&format!("{conv}.weight")];
            let x = x.f_conv2d(kernel, none, [stride; 2], [1; 2], [1; 2], 1)?;
            let [weight, bias] =
                ["weight", "bias"].map(|leaf| &parameters[&format!("{norm}.{leaf}")]);
            let [mean, var] =
                ["mean", "var"].map(|leaf| &buffers[&format!("{norm}.running_{leaf}")]);
            let eps = self.architecture.eps();
            let (weights, running) = ((Some(weight), Some(bias)), (Some(mean), Some(var)));
            x.f_batch_norm(weights.0, weights.1, running.0, running.1, true, MOMENTUM, eps, false)
        };
        let features = self.architecture.features(&images, layer)?;
        let scores =
            features.f_linear(&parameters["linear.weight"], Some(&parameters["linear.bias"]))?;
        let entropy =
            scores.f_cross_entropy_loss(classes, none, tch::Reduction::None, -100, 0.0)?;
        let wrong = scores.f_argmax(1, false)?.f_ne_tensor(classes)?.f_to_kind(Kind::Float)?;
        let each = Tensor::f_stack(&[entropy.f_detach()?, wrong], 0)?;
        Ok(Loss { total: entropy.f_mean(Kind::Float)?, each })
    }

    /// Batch normalisation sees all images at once.
    fn divides(&self) -> bool {
        false
    }

    fn columns(&self) -> Vec<String> {
        ["loss", "error"].map(str::to_owned).to_vec()
    }

    fn belongs(&self, k: usize, _: Option<i64>) -> Vec<usize> {
        vec![k]
    }
}
