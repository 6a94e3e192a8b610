//! Writes weights that any language can rebuild from their names: the 35.7 M parameters of the
//! CIFAR-10 network of the DDPM paper, FID's Inception network, and images to compare with.
//!
//! They know nothing of images. They stand in for the downloads where the way from a manifest to a
//! table is tried out, with the networks of the published setting at their size:
//! `scripts/paper-dry-run`.

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use ddim::{
    data::npy,
    networks::{architecture::KNOWN, checkpoint::names, inception::Inception},
};
use ndarray::Array4;
use safetensors::{Dtype, tensor::TensorView};

#[allow(dead_code, reason = "tests use the rest of it")]
#[path = "../tests/support/fill.rs"]
mod fill;

/// Images behind the reference statistics.
const IMAGES: usize = 128;

/// Writes tensors of those names and shapes; `rule` names each in the convention of the rule.
fn write(
    path: &Path,
    tensors: &BTreeMap<String, Vec<i64>>,
    rule: impl Fn(&str) -> String,
) -> Result<(), Box<dyn Error>> {
    #[allow(clippy::cast_possible_truncation, reason = "weights are f32")]
    let bytes = |name: &str, shape: &[i64]| -> Vec<u8> {
        fill::fill(&rule(name), shape).iter().flat_map(|&x| (x as f32).to_le_bytes()).collect()
    };
    let filled: Vec<(&String, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, shape)| {
            let sides =
                shape.iter().map(|&side| usize::try_from(side)).collect::<Result<_, _>>()?;
            Ok((name, sides, bytes(name, shape)))
        })
        .collect::<Result<_, std::num::TryFromIntError>>()?;
    let views = filled
        .iter()
        .map(|(name, shape, bytes)| Ok((*name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    fs::write(path, safetensors::serialize(views, None)?)?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.ok_or("give the folder to write to")?;
    fs::create_dir_all(&folder)?;
    let config = KNOWN[0].config();
    write(&folder.join("cifar10.safetensors"), &config.tensors(), |name| {
        names::official_name(name, config.levels()).unwrap_or_default()
    })?;
    write(&folder.join("inception.safetensors"), &Inception::tensors(), str::to_owned)?;
    #[allow(clippy::cast_possible_truncation, reason = "images are f32")]
    let values = fill::unit("rebuilt/images", IMAGES * 3 * 32 * 32).into_iter().map(|x| x as f32);
    let images = Array4::from_shape_vec((IMAGES, 3, 32, 32), values.collect())?;
    npy::write_images(&folder.join("images.npy"), images.view())?;
    Ok(())
}
