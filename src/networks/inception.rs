//! The Inception network of FID.
//!
//! The features of the literature are the 2048 values after the global mean of the last block of
//! the *2015* Inception-v3, which differs from torchvision's in its weights and in three poolings:
//! averages do not count the padding, and the last block takes a maximum. pytorch-fid ported it;
//! this reads its weight file (or a safetensors copy) and gives its numbers. Images are resized to
//! 299 x 299 bilinearly with pixel centres at half-integers, as by pytorch-fid. The TensorFlow
//! graph aligns pixels otherwise, and so does the TorchScript file of StyleGAN and EDM: their FIDs
//! differ from pytorch-fid's by little, and are not the same numbers.
//!
//! Batch normalisation (eps = 1e-3) is folded into the convolutions.
//!
//! # References
//! Szegedy et al., *Rethinking the Inception architecture for computer vision*, CVPR 2016.
//! arXiv:1512.00567. Seitzer, *pytorch-fid*, 2020.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};

use crate::networks::{
    checkpoint::{Checkpoint, Which},
    features::{FeatureError, FeatureExtractor, Head, INCEPTION, check_colour},
    folded::{Folded, Folding},
    placement::Layout,
    weights::Weights,
};

/// The file that pytorch-fid publishes, and how its SHA-256 begins.
const PUBLISHED: &str = "pt_inception-2015-12-05-6726825d.pth";
const DIGITS: &str = "6726825d";
/// The side that every image is resized to.
const SIDE: i64 = 299;
/// The number of features.
const FEATURES: i64 = 2048;
/// The classes of the 2015 network: ImageNet's 1000, a background, and seven that nothing used.
const CLASSES: i64 = 1008;
const BATCH_NORM_EPS: f64 = 1e-3;

/// The Inception network, without its last layer.
#[derive(Debug)]
pub struct Inception {
    sha256: String,
    device: Device,
    convolutions: BTreeMap<String, Folded>,
    head: Tensor,
}

impl Inception {
    /// Builds the network of pytorch-fid's weight file, or of a copy of it in another container.
    ///
    /// # Errors
    /// A file that cannot be read, that is not the one its name promises, or whose tensors are not
    /// those of the network.
    pub fn from_checkpoint(checkpoint: &Checkpoint, device: Device) -> Result<Self, FeatureError> {
        let Checkpoint { origin, sha256, .. } = checkpoint;
        if origin.file_name().is_some_and(|name| name == PUBLISHED) && !sha256.starts_with(DIGITS) {
            let problem =
                format!("has sha256 {sha256}, not {DIGITS}... as its name says: fetch it again");
            return Err(FeatureError::Network { path: origin.clone(), problem });
        }
        let part = checkpoint.choose(Which::default())?;
        let state = checkpoint.load(part)?;
        let mut tensors = BTreeMap::new();
        for (name, tensor) in state.tensors {
            // PyTorch's counter of batches, which nothing is computed from.
            if !name.ends_with("num_batches_tracked") {
                tensors.insert(name, tensor.f_to_kind(Kind::Float)?);
            }
        }
        Self::new(&Weights { tensors, sha256: state.sha256, origin: state.origin }, device)
    }

    /// Builds the network of its weights.
    ///
    /// # Errors
    /// Tensors that are not those of the network.
    pub fn new(weights: &Weights, device: Device) -> Result<Self, FeatureError> {
        check(weights)?;
        let fold = |layer: &Convolution| {
            let (conv, norm) = (format!("{}.conv", layer.name), format!("{}.bn", layer.name));
            let Layer { stride, padding, .. } = layer.layer;
            let folding =
                Folding { conv: &conv, norm: &norm, eps: BATCH_NORM_EPS, stride, padding };
            Ok((layer.name.clone(), Folded::new(weights, folding, device)?))
        };
        let built: Result<_, tch::TchError> =
            tch::no_grad(|| convolutions().iter().map(fold).collect());
        Ok(Self {
            sha256: weights.sha256.clone(),
            device,
            convolutions: built?,
            head: weights.tensors["fc.weight"].shallow_clone(),
        })
    }

    /// Every tensor of the weights: name and shape.
    pub fn tensors() -> BTreeMap<String, Vec<i64>> {
        let mut tensors = BTreeMap::from([
            ("fc.weight".to_owned(), vec![CLASSES, FEATURES]),
            ("fc.bias".to_owned(), vec![CLASSES]),
        ]);
        for Convolution { name, from, layer } in convolutions() {
            let [h, w] = layer.kernel;
            tensors.insert(format!("{name}.conv.weight"), vec![layer.to, from, h, w]);
            for leaf in ["weight", "bias", "running_mean", "running_var"] {
                tensors.insert(format!("{name}.bn.{leaf}"), vec![layer.to]);
            }
        }
        tensors
    }

    fn run(&self, images: &Tensor) -> Result<Tensor, tch::TchError> {
        let images = images.f_to_device(self.device)?.f_to_kind(Kind::Float)?;
        let images = images.f_upsample_bilinear2d([SIDE, SIDE], false, None, None)?;
        let images = images.f_mul_scalar(2.0)?.f_sub_scalar(1.0)?;
        let mut x = Layout::default().of(&images)?;
        for part in parts() {
            x = match part {
                Part::Layer(layer) => self.convolve("", &[layer], &x)?,
                Part::Pool(pool) => pool.apply(&x)?,
                Part::Block(name, branches) => self.block(name, &branches, &x)?,
            };
        }
        x.f_mean_dim([2_i64, 3].as_slice(), false, Kind::Float)?.f_to_device(Device::Cpu)
    }

    fn block(&self, name: &str, branches: &[Branch], x: &Tensor) -> Result<Tensor, tch::TchError> {
        let mut outputs = vec![];
        for branch in branches {
            match branch {
                Branch::Chain(layers) => outputs.push(self.convolve(name, layers, x)?),
                Branch::Fork(layers, ends) => {
                    let x = self.convolve(name, layers, x)?;
                    for end in ends {
                        outputs.push(self.convolve(name, &[*end], &x)?);
                    }
                }
                Branch::Pool(pool, layers) => {
                    outputs.push(self.convolve(name, layers, &pool.apply(x)?)?);
                }
            }
        }
        Tensor::f_cat(&outputs, 1)
    }

    /// Convolutions one after another, each with a rectifier behind it.
    fn convolve(&self, block: &str, layers: &[Layer], x: &Tensor) -> Result<Tensor, tch::TchError> {
        let mut x = x.shallow_clone();
        for layer in layers {
            x = self.convolutions[&layer.path(block)].apply(&x)?.f_relu_()?;
        }
        Ok(x)
    }
}

impl FeatureExtractor for Inception {
    fn id(&self) -> &'static str {
        INCEPTION
    }

    fn dim(&self) -> usize {
        usize::try_from(FEATURES).unwrap_or(0)
    }

    fn sha256(&self) -> &str {
        &self.sha256
    }

    fn features(&self, images: &Tensor) -> Result<Tensor, FeatureError> {
        check_colour(images, INCEPTION)?;
        Ok(tch::no_grad(|| self.run(images))?)
    }

    /// Without the bias: the Inception Score was defined on the graph's `softmax/logits/MatMul`
    /// (Salimans et al. 2016, arXiv:1606.03498, their code), before the bias is added, and
    /// torch-fidelity and NVIDIA's tools keep to that.
    fn head(&self) -> Option<Head> {
        Some(Head { weight: self.head.shallow_clone(), bias: None })
    }
}

/// Only the first difference is shown: a file of another network differs everywhere.
fn check(weights: &Weights) -> Result<(), FeatureError> {
    let refuse =
        |problem: String| Err(FeatureError::Network { path: weights.origin.clone(), problem });
    if weights.tensors.get("fc.weight").is_some_and(|fc| fc.size() == [1000, FEATURES]) {
        return refuse(format!(
            "holds torchvision's Inception weights: FID is defined with those of the 2015 network, \
             {PUBLISHED}"
        ));
    }
    match weights.differences(&Inception::tensors()).summary() {
        None => Ok(()),
        Some(differences) => refuse(format!(
            "does not hold the Inception network of FID ({differences}): expected the tensors of \
             {PUBLISHED}; a CIFAR residual network is a file that ends in .th, or a folder"
        )),
    }
}

/// A convolution within its block.
#[derive(Clone, Copy, Debug)]
struct Layer {
    /// The end of its name.
    name: &'static str,
    /// Channels of the result.
    to: i64,
    kernel: [i64; 2],
    stride: i64,
    padding: [i64; 2],
}

impl Layer {
    fn path(&self, block: &str) -> String {
        if block.is_empty() { self.name.to_owned() } else { format!("{block}.{}", self.name) }
    }
}

/// A convolution that keeps the size of the image.
const fn same(name: &'static str, to: i64, kernel: [i64; 2]) -> Layer {
    Layer { name, to, kernel, stride: 1, padding: [kernel[0] / 2, kernel[1] / 2] }
}

/// A 3x3 convolution without padding.
const fn valid(name: &'static str, to: i64, stride: i64) -> Layer {
    Layer { name, to, kernel: [3, 3], stride, padding: [0, 0] }
}

#[derive(Clone, Copy, Debug)]
enum Pool {
    /// 3x3 mean of the pixels that exist.
    Mean,
    /// 3x3 maximum.
    Max,
    /// 3x3 maximum at every second pixel, without padding.
    Halve,
}

impl Pool {
    fn apply(self, x: &Tensor) -> Result<Tensor, tch::TchError> {
        match self {
            Self::Mean => x.f_avg_pool2d([3, 3], [1, 1], [1, 1], false, false, None),
            Self::Max => x.f_max_pool2d([3, 3], [1, 1], [1, 1], [1, 1], false),
            Self::Halve => x.f_max_pool2d([3, 3], [2, 2], [0, 0], [1, 1], false),
        }
    }
}

/// One of the ways through a block; their results are concatenated.
#[derive(Clone, Debug)]
enum Branch {
    /// Convolutions one after another.
    Chain(Vec<Layer>),
    /// The same with two convolutions side by side at the end.
    Fork(Vec<Layer>, [Layer; 2]),
    /// A pooling before the convolutions.
    Pool(Pool, Vec<Layer>),
}

#[derive(Clone, Debug)]
enum Part {
    Layer(Layer),
    Pool(Pool),
    Block(&'static str, Vec<Branch>),
}

/// The network from the image to the last block.
fn parts() -> Vec<Part> {
    let mut parts = vec![
        Part::Layer(valid("Conv2d_1a_3x3", 32, 2)),
        Part::Layer(valid("Conv2d_2a_3x3", 32, 1)),
        Part::Layer(same("Conv2d_2b_3x3", 64, [3, 3])),
        Part::Pool(Pool::Halve),
        Part::Layer(same("Conv2d_3b_1x1", 80, [1, 1])),
        Part::Layer(valid("Conv2d_4a_3x3", 192, 1)),
        Part::Pool(Pool::Halve),
    ];
    parts.extend(
        [("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)]
            .map(|(name, pool)| Part::Block(name, squares(pool))),
    );
    parts.push(Part::Block("Mixed_6a", first_halving()));
    let rows = [("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)];
    parts.extend(rows.map(|(name, inner)| Part::Block(name, rows_and_columns(inner))));
    parts.push(Part::Block("Mixed_7a", second_halving()));
    parts.push(Part::Block("Mixed_7b", forks(Pool::Mean)));
    parts.push(Part::Block("Mixed_7c", forks(Pool::Max)));
    parts
}

/// The blocks at 35 x 35.
fn squares(pool: i64) -> Vec<Branch> {
    vec![
        Branch::Chain(vec![same("branch1x1", 64, [1, 1])]),
        Branch::Chain(vec![same("branch5x5_1", 48, [1, 1]), same("branch5x5_2", 64, [5, 5])]),
        Branch::Chain(vec![
            same("branch3x3dbl_1", 64, [1, 1]),
            same("branch3x3dbl_2", 96, [3, 3]),
            same("branch3x3dbl_3", 96, [3, 3]),
        ]),
        Branch::Pool(Pool::Mean, vec![same("branch_pool", pool, [1, 1])]),
    ]
}

/// From 35 x 35 to 17 x 17.
fn first_halving() -> Vec<Branch> {
    vec![
        Branch::Chain(vec![valid("branch3x3", 384, 2)]),
        Branch::Chain(vec![
            same("branch3x3dbl_1", 64, [1, 1]),
            same("branch3x3dbl_2", 96, [3, 3]),
            valid("branch3x3dbl_3", 96, 2),
        ]),
        Branch::Pool(Pool::Halve, vec![]),
    ]
}

/// The blocks at 17 x 17: 7x7 convolutions as rows and columns.
fn rows_and_columns(inner: i64) -> Vec<Branch> {
    let (row, column) = ([1, 7], [7, 1]);
    vec![
        Branch::Chain(vec![same("branch1x1", 192, [1, 1])]),
        Branch::Chain(vec![
            same("branch7x7_1", inner, [1, 1]),
            same("branch7x7_2", inner, row),
            same("branch7x7_3", 192, column),
        ]),
        Branch::Chain(vec![
            same("branch7x7dbl_1", inner, [1, 1]),
            same("branch7x7dbl_2", inner, column),
            same("branch7x7dbl_3", inner, row),
            same("branch7x7dbl_4", inner, column),
            same("branch7x7dbl_5", 192, row),
        ]),
        Branch::Pool(Pool::Mean, vec![same("branch_pool", 192, [1, 1])]),
    ]
}

/// From 17 x 17 to 8 x 8.
fn second_halving() -> Vec<Branch> {
    vec![
        Branch::Chain(vec![same("branch3x3_1", 192, [1, 1]), valid("branch3x3_2", 320, 2)]),
        Branch::Chain(vec![
            same("branch7x7x3_1", 192, [1, 1]),
            same("branch7x7x3_2", 192, [1, 7]),
            same("branch7x7x3_3", 192, [7, 1]),
            valid("branch7x7x3_4", 192, 2),
        ]),
        Branch::Pool(Pool::Halve, vec![]),
    ]
}

/// The blocks at 8 x 8.
fn forks(pool: Pool) -> Vec<Branch> {
    let (row, column) = ([1, 3], [3, 1]);
    vec![
        Branch::Chain(vec![same("branch1x1", 320, [1, 1])]),
        Branch::Fork(
            vec![same("branch3x3_1", 384, [1, 1])],
            [same("branch3x3_2a", 384, row), same("branch3x3_2b", 384, column)],
        ),
        Branch::Fork(
            vec![same("branch3x3dbl_1", 448, [1, 1]), same("branch3x3dbl_2", 384, [3, 3])],
            [same("branch3x3dbl_3a", 384, row), same("branch3x3dbl_3b", 384, column)],
        ),
        Branch::Pool(pool, vec![same("branch_pool", 192, [1, 1])]),
    ]
}

/// A convolution with its whole name and the channels it takes.
struct Convolution {
    name: String,
    from: i64,
    layer: Layer,
}

/// All convolutions in order.
fn convolutions() -> Vec<Convolution> {
    let mut all = vec![];
    // Adds a chain, and says how many channels come out of it.
    let mut chain = |block: &str, from: i64, layers: &[Layer]| {
        layers.iter().fold(from, |from, layer| {
            all.push(Convolution { name: layer.path(block), from, layer: *layer });
            layer.to
        })
    };
    let mut channels = 3;
    for part in parts() {
        channels = match part {
            Part::Layer(layer) => chain("", channels, &[layer]),
            Part::Pool(_) => channels,
            Part::Block(name, branches) => branches
                .iter()
                .map(|branch| match branch {
                    Branch::Chain(layers) | Branch::Pool(_, layers) => {
                        chain(name, channels, layers)
                    }
                    Branch::Fork(layers, ends) => {
                        let inner = chain(name, channels, layers);
                        ends.iter().map(|end| chain(name, inner, &[*end])).sum()
                    }
                })
                .sum(),
        };
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tensors_are_those_of_the_published_file() {
        let tensors = Inception::tensors();
        assert_eq!(tensors.len(), 472);
        let trained = tensors.iter().filter(|(name, _)| !name.contains("running"));
        assert_eq!(
            trained.map(|(_, shape)| shape.iter().product::<i64>()).sum::<i64>(),
            23_850_960
        );
        assert_eq!(tensors["Mixed_7c.branch3x3dbl_3b.conv.weight"], [384, 384, 3, 1]);
        assert_eq!(tensors["Mixed_6c.branch7x7dbl_2.conv.weight"], [160, 160, 7, 1]);
    }

    #[test]
    fn another_network_is_refused_by_what_it_is() {
        let weights = |fc: [i64; 2], names: &[&str]| {
            let mut tensors: BTreeMap<String, Tensor> = names
                .iter()
                .map(|name| ((*name).to_owned(), Tensor::from_slice(&[0.0_f32])))
                .collect();
            let fc = Tensor::zeros(fc, (Kind::Float, Device::Cpu));
            tensors.insert("fc.weight".to_owned(), fc);
            Weights { tensors, sha256: String::new(), origin: "w.pth".into() }
        };
        let error = Inception::new(&weights([1000, FEATURES], &[]), Device::Cpu).unwrap_err();
        assert!(error.to_string().starts_with("w.pth holds torchvision's"), "{error}");
        let error = Inception::new(&weights([CLASSES, FEATURES], &["x"]), Device::Cpu).unwrap_err();
        assert_eq!(
            error.to_string(),
            "w.pth does not hold the Inception network of FID (`Conv2d_1a_3x3.bn.bias` is missing \
             and 471 more differences): expected the tensors of \
             pt_inception-2015-12-05-6726825d.pth; a CIFAR residual network is a file that ends in \
             .th, or a folder"
        );
    }
}
