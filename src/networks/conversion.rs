//! Networks as diffusers writes them: `config.json` and a safetensors file.

use std::{collections::BTreeMap, path::Path};

use safetensors::{Dtype, SafeTensorError, tensor::TensorView};
use tch::{Kind, Tensor};

use crate::backends::torch::first_line;
use crate::networks::{
    architecture::known,
    checkpoint::{Checkpoint, Which, names::Convention},
    files::ModelFiles,
    open_error::OpenError,
    reading::{Reading, Remark},
    unet_config::UnetConfig,
    weights::Weights,
};

/// A network as two files' contents.
#[derive(Clone, Debug)]
pub struct Converted {
    /// Its configuration.
    pub config: UnetConfig,
    /// The bytes of its `config.json`.
    pub json: Vec<u8>,
    /// The bytes of its `diffusion_pytorch_model.safetensors`.
    pub safetensors: Vec<u8>,
    /// Remarks on how it was read.
    pub remarks: Vec<Remark>,
    /// Whether it is of the official code, by its names or as a published network: it then predicts
    /// eps, for the linear schedule of DDPM.
    pub official: bool,
}

/// Why a network could not be converted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A number has no place in the other element type.
    #[error("`{name}` holds numbers beyond the range of F16")]
    Range {
        /// The tensor.
        name: String,
    },
    /// LibTorch refused an operation.
    #[error("LibTorch: {}", first_line(.0))]
    Torch(#[from] tch::TchError),
    /// The bytes could not be laid out.
    #[error("cannot write safetensors: {0}")]
    Layout(#[from] SafeTensorError),
}

/// Reads a network of any container and gives what diffusers' `UNet2DModel` opens.
///
/// Names are diffusers' current ones, numbers F32, or F16 if `half`. `sample_size` is written where
/// the files do not say it.
///
/// # Errors
/// As [`crate::networks::network::Network::open`]; with `half`, numbers beyond its range.
pub fn convert(
    path: &Path,
    which: Which,
    half: bool,
    sample_size: Option<i64>,
) -> Result<Converted, ConvertError> {
    let files = ModelFiles::find(path, which)?;
    let config = files.read_config().map_err(OpenError::from)?;
    let checkpoint = Checkpoint::open(&files.weights).map_err(OpenError::from)?;
    let reading = Reading::of(&files, &checkpoint, which)?;
    let mut config = reading.config(config)?;
    let remarks = reading.remarks(&config);
    let names = reading.part.translation().convention;
    let official = names == Convention::Official || known(&config).is_some();
    config.sample_size = sample_size.or(config.sample_size);
    let dict = checkpoint.load(reading.part).map_err(OpenError::from)?;
    let weights = Weights::from_state_dict(dict).map_err(OpenError::from)?;
    weights.check(&config.tensors()).map_err(OpenError::from)?;
    Ok(Converted { remarks, official, ..Converted::new(config, &weights.tensors, half)? })
}

impl Converted {
    /// A network of that configuration, whose tensors have diffusers' current names.
    ///
    /// # Errors
    /// With `half`, numbers beyond its range.
    pub fn new(
        config: UnetConfig,
        tensors: &BTreeMap<String, Tensor>,
        half: bool,
    ) -> Result<Self, ConvertError> {
        let json = config.to_json().into_bytes();
        Ok(Self {
            config,
            json,
            safetensors: serialise(tensors, half)?,
            remarks: vec![],
            official: false,
        })
    }
}

/// Tensors as a safetensors file of F32, or of F16 if `half`.
///
/// # Errors
/// With `half`, numbers beyond its range.
pub fn serialise(tensors: &BTreeMap<String, Tensor>, half: bool) -> Result<Vec<u8>, ConvertError> {
    let kind = if half { Kind::Half } else { Kind::Float };
    let mut bytes = BTreeMap::new();
    for (name, tensor) in tensors {
        bytes.insert(name.as_str(), (usizes(&tensor.size()), raw(name, tensor, kind)?));
    }
    let dtype = if half { Dtype::F16 } else { Dtype::F32 };
    let views: Vec<(&str, TensorView<'_>)> = bytes
        .iter()
        .map(|(name, (shape, bytes))| Ok((*name, TensorView::new(dtype, shape.clone(), bytes)?)))
        .collect::<Result<_, SafeTensorError>>()?;
    // PyTorch's readers look for this.
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    Ok(safetensors::serialize(views, Some(metadata))?)
}

fn usizes(shape: &[i64]) -> Vec<usize> {
    shape.iter().map(|&side| usize::try_from(side).unwrap_or(0)).collect()
}

/// The numbers in that element type, in order, as bytes.
fn raw(name: &str, tensor: &Tensor, kind: Kind) -> Result<Vec<u8>, ConvertError> {
    let values = tensor.f_to_kind(kind)?.f_contiguous()?;
    if kind == Kind::Half {
        let finite = |x: &Tensor| -> Result<bool, tch::TchError> {
            Ok(x.f_isfinite()?.f_all()?.int64_value(&[]) == 1)
        };
        if finite(tensor)? && !finite(&values)? {
            return Err(ConvertError::Range { name: name.to_owned() });
        }
    }
    let count = values.numel();
    let mut bytes = vec![0; count * kind.elt_size_in_bytes()];
    values.f_copy_data_u8(&mut bytes, count)?;
    Ok(bytes)
}
