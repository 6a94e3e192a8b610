//! A trained network as a denoiser.

use std::path::Path;

use tch::{Kind, Tensor};

use crate::backends::fused;
use crate::core::{At, Denoiser, Divergent, Error, Prediction, Result, Trace};
use crate::networks::{
    checkpoint::{Checkpoint, Container, OwnLevels, Which},
    compiled::{About, Compiled, CompiledError},
    files::ModelFiles,
    open_error::OpenError,
    placement::{Placement, Precision},
    reading::{Reading, Remark},
    torchscript::Script,
    unet::Unet,
    unet_config::UnetConfig,
    weights::Weights,
};

/// Which weights of a network are wanted, and how it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Which weights, where a file has several.
    pub which: Which,
    /// The shape of its images `[C, H, W]`, where the files do not say it or another is meant.
    pub shape: Option<[usize; 3]>,
    /// Where and how it runs.
    pub placement: Placement,
}

impl From<Placement> for Wanted {
    fn from(placement: Placement) -> Self {
        Self { placement, ..Self::default() }
    }
}

#[derive(Debug)]
enum Body {
    Unet(Box<Unet>),
    Script(Script),
    Compiled(Box<Compiled>),
}

/// A network that predicts eps, and maybe the range of a learned variance, with what a record of a run says about it.
#[derive(Debug)]
pub struct Network {
    body: Body,
    name: String,
    shape: Option<[usize; 3]>,
    sha256: String,
    tensors: usize,
    parameters: usize,
    remarks: Vec<Remark>,
    levels: Option<OwnLevels>,
}

impl Network {
    /// Opens a diffusers folder, a single file of weights in any container, or a program, of TorchScript or
    /// compiled.
    ///
    /// A saved pipeline keeps its network in its `unet` folder, which is looked into as well. A
    /// `config.json` beside a single file counts; without one the official code's networks are
    /// recognised from the names and shapes of the tensors. Of `unet` and `unet_ema` in one folder,
    /// the second is the average. An index of shards stands for all of them.
    ///
    /// # Errors
    /// When a file is missing or broken, the configuration asks for something not supported, or
    /// weights and configuration do not fit each other.
    pub fn open(path: &Path, wanted: &Wanted) -> std::result::Result<Self, OpenError> {
        let files = ModelFiles::find(path, wanted.which)?;
        let name = files.weights.display().to_string();
        // A wrong configuration is found without the weights, which may be large.
        let config = files.read_config()?;
        let checkpoint = Checkpoint::open(&files.weights)?;
        if let Some(what) = checkpoint.container.program() {
            if wanted.which == Which::Raw {
                return Err(OpenError::NoRaw { name, what });
            }
            return match checkpoint.container {
                Container::PACKAGE => Self::compiled(&checkpoint, name, wanted),
                _ => Self::script(&checkpoint, name, wanted),
            };
        }
        let reading = Reading::of(&files, &checkpoint, wanted.which)?;
        let config = reading.config(config)?;
        let dict = checkpoint.load(reading.part)?;
        let levels = dict.levels.clone();
        let weights = Weights::from_state_dict(dict)?;
        let name = path.display().to_string();
        let mut network = Self::new(&name, &config, &weights, wanted.placement)?;
        network.levels = levels;
        network.remarks = reading.remarks(&config);
        network.remarks.extend(network.without_kernels(wanted.placement));
        match wanted.shape {
            Some(shape) => network.with_shape(&config, shape),
            None => Ok(network),
        }
    }

    fn script(
        checkpoint: &Checkpoint,
        name: String,
        wanted: &Wanted,
    ) -> std::result::Result<Self, OpenError> {
        if wanted.placement.precision != Precision::F32 {
            return Err(OpenError::Precision { name });
        }
        let script = Script::open(&checkpoint.origin, wanted.placement.device)?;
        let parameters = script.parameters()?;
        let count = |shape: &[i64]| {
            shape.iter().map(|&s| usize::try_from(s).unwrap_or(0)).product::<usize>()
        };
        Ok(Self {
            name,
            shape: wanted.shape,
            sha256: checkpoint.sha256.clone(),
            tensors: parameters.len(),
            parameters: parameters.iter().map(|(_, shape, _)| count(shape)).sum(),
            body: Body::Script(script),
            remarks: vec![],
            levels: None,
        })
    }

    fn compiled(
        checkpoint: &Checkpoint,
        name: String,
        wanted: &Wanted,
    ) -> std::result::Result<Self, OpenError> {
        let compiled = Compiled::open(&checkpoint.origin, wanted.placement.device)?;
        let about = compiled.about();
        let (own, precision) = (about.precision, wanted.placement.precision);
        if own != precision {
            return Err(OpenError::CompiledPrecision { name, own, wanted: precision });
        }
        if let Some(shape) = wanted.shape.filter(|shape| *shape != about.shape) {
            return Err(OpenError::CompiledShape { name, own: about.shape, wanted: shape });
        }
        Ok(Self {
            name,
            shape: Some(about.shape),
            sha256: checkpoint.sha256.clone(),
            tensors: about.tensors,
            parameters: about.parameters,
            remarks: vec![Remark { text: about.to_string(), warning: false }],
            levels: None,
            body: Body::Compiled(Box::new(compiled)),
        })
    }

    /// Builds a network from its configuration and weights; `name` is for messages and records.
    ///
    /// # Errors
    /// When they do not fit each other, or the network predicts something else than eps, alone or
    /// with the range of a learned variance.
    pub fn new(
        name: &str,
        config: &UnetConfig,
        weights: &Weights,
        placement: Placement,
    ) -> std::result::Result<Self, OpenError> {
        if config.predicts_range().is_none() {
            return Err(OpenError::Channels {
                name: name.to_owned(),
                out: config.out_channels,
                image: config.in_channels,
            });
        }
        let shape = || {
            let side = usize::try_from(config.sample_size?).ok()?;
            Some([usize::try_from(config.in_channels).ok()?, side, side])
        };
        Ok(Self {
            body: Body::Unet(Box::new(Unet::new(config, weights, placement)?)),
            name: name.to_owned(),
            shape: shape(),
            sha256: weights.sha256.clone(),
            tensors: weights.tensors.len(),
            parameters: weights.parameters(),
            remarks: vec![],
            levels: None,
        })
    }

    /// Says why a network on a GPU runs without the kernels that it should have there.
    fn without_kernels(&self, wanted: Placement) -> Option<Remark> {
        if !wanted.device.is_cuda() || self.unet()?.placement().fused {
            return None;
        }
        let why = match fused::ready() {
            Err(error) => error.to_string(),
            Ok(()) if wanted.fused => {
                "its widths do not fill the words of the fused kernels".to_owned()
            }
            Ok(()) => return None,
        };
        let text = format!("{why}: LibTorch's own operations take their place, and are slower");
        Some(Remark { text, warning: true })
    }

    fn with_shape(
        self,
        config: &UnetConfig,
        shape: [usize; 3],
    ) -> std::result::Result<Self, OpenError> {
        let factor = 1 << (config.levels() - 1);
        let [channels, sides @ ..] = shape;
        let fits = |side: &usize| *side > 0 && side.is_multiple_of(factor);
        if i64::try_from(channels) == Ok(config.in_channels) && sides.iter().all(fits) {
            return Ok(Self { shape: Some(shape), ..self });
        }
        Err(OpenError::Shape { name: self.name, shape, channels: config.in_channels, factor })
    }

    /// The UNet; none if it is a program.
    pub fn unet(&self) -> Option<&Unet> {
        match &self.body {
            Body::Unet(unet) => Some(unet),
            Body::Script(_) | Body::Compiled(_) => None,
        }
    }

    /// Whether it predicts the range of a learned variance beside eps; a TorchScript program does not say
    /// before it runs.
    pub fn predicts_range(&self) -> Option<bool> {
        match &self.body {
            Body::Unet(unet) => unet.config().predicts_range(),
            Body::Script(_) => None,
            Body::Compiled(compiled) => Some(compiled.about().predicts_range()),
        }
    }

    /// The folder, the file or the name that it was opened by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Shape of the images it was made for, `[C, H, W]`; none if nothing says so.
    pub fn shape(&self) -> Option<[usize; 3]> {
        self.shape
    }

    /// The noise levels that its file keeps beside the weights, if it does.
    pub fn levels(&self) -> Option<&OwnLevels> {
        self.levels.as_ref()
    }

    /// Remarks on how it was read.
    pub fn remarks(&self) -> &[Remark] {
        &self.remarks
    }

    /// SHA-256 of the weights file; of shards, of the list of theirs.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// SHA-256 of the file of weights that it was compiled from, if it was; of its own file otherwise.
    pub fn weights_sha256(&self) -> &str {
        match &self.body {
            Body::Compiled(compiled) => compiled.about().weights.as_deref().unwrap_or(&self.sha256),
            _ => &self.sha256,
        }
    }

    /// The number of weight tensors.
    pub fn tensors(&self) -> usize {
        self.tensors
    }

    /// The number of parameters in them.
    pub fn parameters(&self) -> usize {
        self.parameters
    }
}

/// An error of a compiled network: fewer images take no less memory in one that fills its calls up.
fn of_compiled(error: CompiledError, about: &About) -> Error {
    match (Error::model(error), about.batch) {
        (Error::OutOfMemory(said), Some(batch)) => Error::Model(
            format!(
                "out of memory ({said}): the network was compiled for {batch} images a call, and takes the \
                 memory of all of them however many there are; compile it for fewer"
            )
            .into(),
        ),
        (error, _) => error,
    }
}

impl Denoiser for Network {
    type State = Tensor;

    /// Asks the network with one timestep for the whole batch.
    ///
    /// The clean end is at t = -1, which no network was trained on: it is asked at t = 0.
    fn predict(&self, x: &Tensor, at: At) -> Result<Tensor> {
        Ok(self.predict_with_range(x, at)?.eps)
    }

    /// Of twice as many output channels, the first half is eps and the second the range.
    fn predict_with_range(&self, x: &Tensor, at: At) -> Result<Prediction<Tensor>> {
        let t = Tensor::f_from_slice(&[at.asked.t.max(0.0)]).map_err(Error::model)?;
        let kind = x.f_kind().map_err(Error::model)?;
        let out = match &self.body {
            Body::Unet(unet) => unet.forward(x, &t).map_err(Error::model)?,
            Body::Script(script) => script.forward(x, &t).map_err(Error::model)?,
            Body::Compiled(compiled) => {
                compiled.forward(x, &t).map_err(|error| of_compiled(error, compiled.about()))?
            }
        };
        let out = out.f_to_kind(kind).map_err(Error::model)?;
        let (image, channels) = (x.size(), out.size());
        if image == channels {
            return Ok(out.into());
        }
        let half = |first| out.f_narrow(1, first, image[1])?.f_contiguous();
        let halves = || Ok(Prediction { range: Some(half(image[1])?), ..half(0)?.into() });
        halves().map_err(|error: tch::TchError| Error::model(error))
    }
}

impl Divergent for Network {
    /// By a backward pass of the network for each probe: $z^\top J$, and from it $z^\top J z$.
    fn predict_with_trace(
        &self,
        x: &Tensor,
        at: At,
        trace: &Trace<'_, Tensor>,
    ) -> Result<(Tensor, Vec<f64>)> {
        let unet = match &self.body {
            Body::Unet(unet) if !trace.probes.is_empty() => unet,
            Body::Unet(_) => {
                let why = "an exact trace takes as many passes as an image has values: only \
                           exact-score models have one, a network takes probes";
                return Err(Error::Likelihood(why.into()));
            }
            Body::Script(_) | Body::Compiled(_) => {
                let why = format!(
                    "{} is a program, which gives no gradients: take the weights it was made of",
                    self.name
                );
                return Err(Error::Likelihood(why));
            }
        };
        let torch = |error: tch::TchError| Error::model(error);
        let kind = x.f_kind().map_err(torch)?;
        let t = Tensor::f_from_slice(&[at.asked.t.max(0.0)]).map_err(Error::model)?;
        let leaf = || x.f_detach()?.f_to_kind(Kind::Float)?.f_set_requires_grad(true);
        let leaf = leaf().map_err(torch)?;
        let out = unet.forward_train(&leaf, &t, None).map_err(Error::model)?;
        let eps = out.f_narrow(1, 0, x.size()[1]).map_err(torch)?;
        let rows = x.size()[0];
        let mut sums = vec![0.0; usize::try_from(rows).unwrap_or(0)];
        for (k, z) in trace.probes.iter().enumerate() {
            let along = || -> std::result::Result<Vec<f64>, tch::TchError> {
                let z = z.f_to_kind(Kind::Float)?;
                let product = eps.f_mul(&z)?.f_sum(Kind::Float)?;
                let more = k + 1 < trace.probes.len();
                let gradient = Tensor::f_run_backward(&[&product], &[&leaf], more, false)?;
                let values =
                    gradient[0].f_mul(&z)?.f_to_kind(Kind::Double)?.f_reshape([rows, -1])?;
                let sums = values.f_sum_dim_intlist(1, false, Kind::Double)?;
                Vec::try_from(sums.f_to_device(tch::Device::Cpu)?)
            };
            for (sum, value) in sums.iter_mut().zip(along().map_err(torch)?) {
                *sum += value / trace.probes.len() as f64;
            }
        }
        let eps = eps.f_detach().and_then(|eps| eps.f_to_kind(kind)?.f_contiguous());
        Ok((eps.map_err(torch)?, sums))
    }
}
