//! CIFAR residual networks as feature networks: the small one that comes with the repository, and
//! checkpoints of others.
//!
//! The values after the global mean of the last stage, 64 of them in the usual widths, are the
//! features. A distance in these features is not the FID of the literature, which needs the
//! Inception network; they order samplers of CIFAR-10 models without a download.
//!
//! A folder states its network in `config.json`. A file ending in `.th`, as akamaster's
//! `pytorch_resnet_cifar10` publishes them, states nothing: depth, widths and classes follow from
//! names and shapes of its tensors, and the images are normalised with ImageNet's mean and standard
//! deviation, as by that trainer.
//!
//! # References
//! He, Zhang, Ren, Sun, *Deep residual learning for image recognition*, CVPR 2016, section 4.2,
//! shortcuts of option A. arXiv:1512.03385.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;
use tch::{Device, Kind, Tensor};

use super::{
    checkpoint::{Checkpoint, Which},
    features::{FeatureError, FeatureExtractor, Head, check_colour, name_of},
    folded::{Folded, Folding},
    unet::Layout,
    weights::Weights,
};

/// ImageNet's, which most trainers of CIFAR networks took over.
const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const STD: [f64; 3] = [0.229, 0.224, 0.225];
/// PyTorch's.
const BATCH_NORM_EPS: f64 = 1e-5;

/// The fields of the classifier's `config.json` that its features depend on.
#[derive(Debug, Deserialize)]
struct Config {
    architecture: String,
    depth: usize,
    widths: Vec<i64>,
    num_classes: i64,
    mean: [f64; 3],
    std: [f64; 3],
    batch_norm_eps: f64,
}

/// The side of CIFAR images: the global mean hides another one, and the features change with it.
const CIFAR_SIDE: usize = 32;

/// A CIFAR residual network (He et al. 2016, section 4.2) with identity shortcuts.
#[derive(Debug)]
pub struct Classifier {
    id: String,
    sha256: String,
    device: Device,
    mean: Tensor,
    std: Tensor,
    stem: Folded,
    blocks: Vec<Block>,
    linear: (Tensor, Tensor),
}

impl Classifier {
    /// Opens a folder with `config.json` and `model.safetensors`; its name becomes the id.
    ///
    /// # Errors
    /// When a file is missing or broken, or weights and configuration do not fit each other.
    pub fn open(folder: &Path, device: Device) -> Result<Self, FeatureError> {
        let failed = |path: &Path, source| FeatureError::Read { path: path.to_owned(), source };
        let (config, weights) = (folder.join("config.json"), folder.join("model.safetensors"));
        let text = std::fs::read_to_string(&config).map_err(|error| failed(&config, error))?;
        let bytes = std::fs::read(&weights).map_err(|error| failed(&weights, error))?;
        Self::parse(&name_of(folder), &text, &bytes, folder, device)
    }

    /// Builds the network of a checkpoint; the file's name without its ending becomes the id.
    ///
    /// # Errors
    /// A file that cannot be read, or whose tensors are not those of such a network.
    pub fn from_checkpoint(checkpoint: &Checkpoint, device: Device) -> Result<Self, FeatureError> {
        let mut state = checkpoint.load(checkpoint.choose(Which::default())?)?;
        // PyTorch counts batches; nothing is computed of it.
        state.tensors.retain(|name, _| !name.ends_with("num_batches_tracked"));
        let weights = Weights::from_state_dict(state)?;
        let config = Config::of(&weights);
        let differences = weights.differences(&config.tensors());
        if let Some(differences) = differences.summary() {
            return Err(FeatureError::Network {
                path: weights.origin,
                problem: format!(
                    "does not hold a CIFAR residual network with shortcuts without weights \
                     ({differences}): expected akamaster's names, conv1, bn1, layer1.0.conv1, .., \
                     linear; the Inception network is a file that ends in .pth, .pt or .safetensors"
                ),
            });
        }
        let id = name_of(&weights.origin);
        Ok(tch::no_grad(|| Self::build(&id, &config, &weights, device))?)
    }

    fn parse(
        id: &str,
        config: &str,
        weights: &[u8],
        folder: &Path,
        device: Device,
    ) -> Result<Self, FeatureError> {
        let path = folder.join("config.json");
        let wrong = |message: String| FeatureError::Config { path: path.clone(), message };
        let config: Config =
            serde_json::from_str(config).map_err(|error| wrong(error.to_string()))?;
        if config.architecture != "cifar-resnet" {
            let found = &config.architecture;
            return Err(wrong(format!("architecture is {found:?}; supported: \"cifar-resnet\"")));
        }
        if config.depth < 8 || config.depth % 6 != 2 || config.widths.is_empty() {
            let (depth, widths) = (config.depth, &config.widths);
            return Err(wrong(format!(
                "depth {depth} with widths {widths:?}; supported: depth 6 n + 2 and one width a stage"
            )));
        }
        let weights = Weights::from_safetensors(weights, &folder.join("model.safetensors"))?;
        weights.check(&config.tensors())?;
        let built = tch::no_grad(|| Self::build(id, &config, &weights, device));
        Ok(built?)
    }

    fn build(
        id: &str,
        config: &Config,
        weights: &Weights,
        device: Device,
    ) -> Result<Self, tch::TchError> {
        let pixel = |values: &[f64; 3]| {
            Tensor::f_from_slice(values)?
                .f_to_kind(Kind::Float)?
                .f_reshape([1, 3, 1, 1])?
                .f_to_device(device)
        };
        let conv = |conv: &str, norm: &str, stride: i64| {
            let eps = config.batch_norm_eps;
            Folded::new(weights, Folding { conv, norm, eps, stride, padding: [1; 2] }, device)
        };
        let mut blocks = Vec::new();
        for (name, stride) in config.blocks() {
            let first = conv(&format!("{name}.conv1"), &format!("{name}.bn1"), stride)?;
            let second = conv(&format!("{name}.conv2"), &format!("{name}.bn2"), 1)?;
            blocks.push(Block { first, second, stride });
        }
        Ok(Self {
            id: id.to_owned(),
            sha256: weights.sha256.clone(),
            device,
            mean: pixel(&config.mean)?,
            std: pixel(&config.std)?,
            stem: conv("conv1", "bn1", 1)?,
            blocks,
            linear: (
                weights.tensors["linear.weight"].f_to_device(device)?,
                weights.tensors["linear.bias"].f_to_device(device)?,
            ),
        })
    }

    /// The class scores of a batch of images with values in [0, 1]: `[N, 3, H, W]` to `[N, 10]`.
    ///
    /// # Errors
    /// As [`FeatureExtractor::features`].
    pub fn logits(&self, images: &Tensor) -> Result<Tensor, FeatureError> {
        let features = self.features(images)?.f_to_device(self.device)?;
        let (weight, bias) = &self.linear;
        Ok(tch::no_grad(|| features.f_linear(weight, Some(bias)))?.f_to_device(Device::Cpu)?)
    }

    fn run(&self, images: &Tensor) -> Result<Tensor, tch::TchError> {
        let images = images.f_to_device(self.device)?.f_to_kind(Kind::Float)?;
        let images = images.f_sub(&self.mean)?.f_div(&self.std)?;
        let mut x = self.stem.apply(&Layout::default().of(&images)?)?.f_relu_()?;
        for block in &self.blocks {
            x = block.apply(&x)?;
        }
        x.f_mean_dim([2_i64, 3].as_slice(), false, Kind::Float)?.f_to_device(Device::Cpu)
    }
}

impl FeatureExtractor for Classifier {
    fn id(&self) -> &str {
        &self.id
    }

    fn dim(&self) -> usize {
        let width = self.linear.0.size().last().copied().unwrap_or(0);
        usize::try_from(width).unwrap_or(0)
    }

    fn side(&self) -> Option<usize> {
        Some(CIFAR_SIDE)
    }

    fn sha256(&self) -> &str {
        &self.sha256
    }

    fn features(&self, images: &Tensor) -> Result<Tensor, FeatureError> {
        check_colour(images, &self.id)?;
        Ok(tch::no_grad(|| self.run(images))?)
    }

    fn head(&self) -> Option<Head> {
        let on_host = |x: &Tensor| x.f_to_device(Device::Cpu).ok();
        let (weight, bias) = &self.linear;
        Some(Head { weight: on_host(weight)?, bias: Some(on_host(bias)?) })
    }
}

impl Config {
    /// The network that weights are those of, if they are one's: what they lack or have too much
    /// then shows as differences from it.
    fn of(weights: &Weights) -> Self {
        let rows = |name: &str| Some(*weights.tensors.get(name)?.size().first()?);
        let conv = |stage: usize, block: usize| rows(&format!("layer{stage}.{block}.conv1.weight"));
        let blocks = (0..).take_while(|&block| conv(1, block).is_some()).count();
        let mut widths: Vec<i64> = (1..).map_while(|stage| conv(stage, 0)).collect();
        if widths.is_empty() {
            widths = vec![16, 32, 64];
        }
        Self {
            architecture: "cifar-resnet".to_owned(),
            depth: 6 * blocks.max(1) + 2,
            widths,
            num_classes: rows("linear.weight").unwrap_or(10),
            mean: MEAN,
            std: STD,
            batch_norm_eps: BATCH_NORM_EPS,
        }
    }

    /// The residual blocks in order: name and stride.
    fn blocks(&self) -> Vec<(String, i64)> {
        let stages = 1..=self.widths.len();
        stages
            .flat_map(|stage| (0..(self.depth - 2) / 6).map(move |block| (stage, block)))
            .map(|(stage, block)| {
                let stride = if stage > 1 && block == 0 { 2 } else { 1 };
                (format!("layer{stage}.{block}"), stride)
            })
            .collect()
    }

    /// Every tensor of the weights file: name and shape.
    fn tensors(&self) -> BTreeMap<String, Vec<i64>> {
        let mut tensors = BTreeMap::new();
        let mut layer = |conv: &str, norm: &str, from: i64, to: i64| {
            tensors.insert(format!("{conv}.weight"), vec![to, from, 3, 3]);
            for leaf in ["weight", "bias", "running_mean", "running_var"] {
                tensors.insert(format!("{norm}.{leaf}"), vec![to]);
            }
        };
        let mut width = self.widths[0];
        layer("conv1", "bn1", 3, width);
        let per_stage = (self.depth - 2) / 6;
        for (index, (name, _)) in self.blocks().into_iter().enumerate() {
            let to = self.widths[index / per_stage];
            layer(&format!("{name}.conv1"), &format!("{name}.bn1"), width, to);
            layer(&format!("{name}.conv2"), &format!("{name}.bn2"), to, to);
            width = to;
        }
        tensors.insert("linear.weight".into(), vec![self.num_classes, width]);
        tensors.insert("linear.bias".into(), vec![self.num_classes]);
        tensors
    }
}

#[derive(Debug)]
struct Block {
    first: Folded,
    second: Folded,
    stride: i64,
}

impl Block {
    fn apply(&self, x: &Tensor) -> Result<Tensor, tch::TchError> {
        let h = self.second.apply(&self.first.apply(x)?.f_relu_()?)?;
        if self.stride == 1 {
            return h.f_add(x)?.f_relu_();
        }
        // Shortcut without weights: every second pixel, new channels zero, half on each side.
        let new = h.size4()?.1 - x.size4()?.1;
        let pixels = x.f_slice(2, 0, i64::MAX, 2)?.f_slice(3, 0, i64::MAX, 2)?;
        let padded = pixels.f_constant_pad_nd([0, 0, 0, 0, new / 2, new - new / 2])?;
        h.f_add(&padded)?.f_relu_()
    }
}
