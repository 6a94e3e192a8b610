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

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::networks::{
    checkpoint::{Checkpoint, Which},
    features::{FeatureError, FeatureExtractor, Head, check_colour, name_of},
    folded::{Folded, Folding},
    placement::Layout,
    weights::Weights,
};
use crate::{data::file, limits};

/// ImageNet's, which most trainers of CIFAR networks took over.
const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const STD: [f64; 3] = [0.229, 0.224, 0.225];
/// More blocks of a stage than any network has.
const MOST_BLOCKS: usize = 1000;
/// More stages than any network has.
const MOST_STAGES: usize = 16;
/// PyTorch's.
const BATCH_NORM_EPS: f64 = 1e-5;

/// A CIFAR residual network (He et al. 2016, section 4.2) with shortcuts that have no weights, as its
/// `config.json` has it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Architecture {
    #[serde(rename = "architecture")]
    family: String,
    /// Layers, 6 n + 2.
    pub depth: usize,
    /// Channels of each stage.
    pub widths: Vec<i64>,
    /// The number of classes.
    pub num_classes: i64,
    mean: [f64; 3],
    std: [f64; 3],
    batch_norm_eps: f64,
}

/// A convolution and the batch normalisation behind it, by the names of their tensors.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// The convolution.
    pub conv: &'a str,
    /// The normalisation.
    pub norm: &'a str,
    /// The convolution's stride.
    pub stride: i64,
}

/// The side of CIFAR images: the global mean hides another one, and the features change with it.
const CIFAR_SIDE: usize = 32;

/// Such a network, ready to run.
#[derive(Debug)]
pub struct Classifier {
    id: String,
    sha256: String,
    device: Device,
    architecture: Architecture,
    layers: BTreeMap<String, Folded>,
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
        let text =
            file::read_text(&config, limits::JSON).map_err(|error| failed(&config, error))?;
        let bytes = file::read(&weights).map_err(|error| failed(&weights, error))?;
        Self::parse(&name_of(folder), &text, &bytes, folder, device)
    }

    /// Builds the network of a checkpoint; the file's name without its ending becomes the id.
    ///
    /// # Errors
    /// A file that cannot be read, or whose tensors are not those of such a network.
    pub fn from_checkpoint(checkpoint: &Checkpoint, device: Device) -> Result<Self, FeatureError> {
        let mut state = checkpoint.load(checkpoint.choose(Which::default())?)?;
        // PyTorch's counter of batches, which nothing is computed from.
        state.tensors.retain(|name, _| !name.ends_with("num_batches_tracked"));
        let weights = Weights::from_state_dict(state)?;
        let config = Architecture::of(&weights);
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
        let config: Architecture =
            serde_json::from_str(config).map_err(|error| wrong(error.to_string()))?;
        if config.family != "cifar-resnet" {
            let found = &config.family;
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
        architecture: &Architecture,
        weights: &Weights,
        device: Device,
    ) -> Result<Self, tch::TchError> {
        let mut layers = BTreeMap::new();
        for (conv, norm, stride) in architecture.layers() {
            let eps = architecture.batch_norm_eps;
            let folding = Folding { conv: &conv, norm: &norm, eps, stride, padding: [1; 2] };
            let folded = Folded::new(weights, folding, device)?;
            layers.insert(conv, folded);
        }
        Ok(Self {
            id: id.to_owned(),
            sha256: weights.sha256.clone(),
            device,
            architecture: architecture.clone(),
            layers,
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
        let layer = |x: &Tensor, layer: Layer<'_>| self.layers[layer.conv].apply(x);
        self.architecture.features(&images, layer)?.f_to_device(Device::Cpu)
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

impl Architecture {
    /// The network of that depth and these widths for images of CIFAR's kind, normalised by the means
    /// and deviations of natural images.
    pub fn cifar(depth: usize, widths: Vec<i64>, num_classes: i64) -> Self {
        Self {
            family: "cifar-resnet".to_owned(),
            depth,
            widths,
            num_classes,
            mean: MEAN,
            std: STD,
            batch_norm_eps: BATCH_NORM_EPS,
        }
    }

    /// The network that weights are those of, if they are one's: what they lack or have too much
    /// then shows as differences from it.
    fn of(weights: &Weights) -> Self {
        let rows = |name: &str| Some(*weights.tensors.get(name)?.size().first()?);
        let conv = |stage: usize, block: usize| rows(&format!("layer{stage}.{block}.conv1.weight"));
        let blocks = (0..MOST_BLOCKS).take_while(|&block| conv(1, block).is_some()).count();
        let mut widths: Vec<i64> = (1..=MOST_STAGES).map_while(|stage| conv(stage, 0)).collect();
        if widths.is_empty() {
            widths = vec![16, 32, 64];
        }
        let classes = rows("linear.weight").unwrap_or(10);
        Self::cifar(6 * blocks.max(1) + 2, widths, classes)
    }

    /// The constant added to the variance in every batch normalisation.
    pub fn eps(&self) -> f64 {
        self.batch_norm_eps
    }

    /// The `config.json` of such a network.
    ///
    /// # Panics
    /// Never: numbers and strings have a JSON form.
    pub fn to_json(&self) -> String {
        let json = serde_json::to_string_pretty(self);
        json.expect("invariant: numbers and strings have a JSON form") + "\n"
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

    /// Convolution, normalisation and stride of every layer.
    fn layers(&self) -> Vec<(String, String, i64)> {
        let stem = ("conv1".to_owned(), "bn1".to_owned(), 1);
        let blocks = self.blocks().into_iter().flat_map(|(name, stride)| {
            [
                (format!("{name}.conv1"), format!("{name}.bn1"), stride),
                (format!("{name}.conv2"), format!("{name}.bn2"), 1),
            ]
        });
        std::iter::once(stem).chain(blocks).collect()
    }

    /// The features of images with values in [0, 1], `[N, 3, H, W]` to `[N, C]`; `layer` convolves and
    /// normalises.
    ///
    /// # Errors
    /// When LibTorch refuses an operation.
    pub fn features(
        &self,
        images: &Tensor,
        layer: impl Fn(&Tensor, Layer<'_>) -> Result<Tensor, tch::TchError>,
    ) -> Result<Tensor, tch::TchError> {
        let pixel = |values: &[f64; 3]| {
            let values = Tensor::f_from_slice(values)?.f_to_kind(Kind::Float)?;
            values.f_reshape([1, 3, 1, 1])?.f_to_device(images.device())
        };
        let images = images.f_sub(&pixel(&self.mean)?)?.f_div(&pixel(&self.std)?)?;
        let stem = Layer { conv: "conv1", norm: "bn1", stride: 1 };
        let mut x = layer(&Layout::default().of(&images)?, stem)?.f_relu_()?;
        for (name, stride) in self.blocks() {
            let [conv1, norm1, conv2, norm2] =
                ["conv1", "bn1", "conv2", "bn2"].map(|part| format!("{name}.{part}"));
            let h = layer(&x, Layer { conv: &conv1, norm: &norm1, stride })?.f_relu_()?;
            let h = layer(&h, Layer { conv: &conv2, norm: &norm2, stride: 1 })?;
            x = h.f_add(&shortcut(&x, &h, stride)?)?.f_relu_()?;
        }
        x.f_mean_dim([2_i64, 3].as_slice(), false, Kind::Float)
    }

    /// Every tensor of the weights file: name and shape.
    pub fn tensors(&self) -> BTreeMap<String, Vec<i64>> {
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

/// A shortcut without weights: every second pixel, new channels zero, half on each side.
fn shortcut(x: &Tensor, h: &Tensor, stride: i64) -> Result<Tensor, tch::TchError> {
    if stride == 1 {
        return Ok(x.shallow_clone());
    }
    let new = h.size4()?.1 - x.size4()?.1;
    let pixels = x.f_slice(2, 0, i64::MAX, 2)?.f_slice(3, 0, i64::MAX, 2)?;
    pixels.f_constant_pad_nd([0, 0, 0, 0, new / 2, new - new / 2])
}
