//! Checkpoints of peers, rebuilt byte for byte: the files without their numbers are stored, and the
//! numbers follow from the rule of `fill`.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use ddim::networks::checkpoint::{Checkpoint, CheckpointError, StateDict, Which};

use super::{fill, golden, golden_json};

/// The weights of a file, the moving average where there are several.
pub fn read(path: &Path) -> Result<StateDict, CheckpointError> {
    let checkpoint = Checkpoint::open(path)?;
    checkpoint.load(checkpoint.choose(Which::Ema)?)
}

/// Writes one of the files of `tests/golden/checkpoints` into a folder, whole.
pub fn write(name: &str, folder: &Path) -> PathBuf {
    let packed = fs::File::open(golden(&format!("checkpoints/{name}.gz"))).unwrap();
    let mut bytes = vec![];
    flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
    let cut = &golden_json("checkpoints/cut.json")[name];
    for tensor in cut["tensors"].as_array().unwrap() {
        let start = usize::try_from(tensor[0].as_u64().unwrap()).unwrap();
        let shape: Vec<i64> = serde_json::from_value(tensor[2].clone()).unwrap();
        let values = fill::fill(tensor[1].as_str().unwrap(), &shape);
        for (place, value) in bytes[start..].chunks_exact_mut(4).zip(values) {
            #[allow(clippy::cast_possible_truncation, reason = "the files hold f32")]
            place.copy_from_slice(&(value as f32).to_le_bytes());
        }
    }
    assert_eq!(ddim::data::sha256(&bytes), cut["sha256"].as_str().unwrap(), "{name}");
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// Writes the golden diffusers folder, and returns it.
pub fn write_folder(folder: &Path) -> PathBuf {
    let inner = folder.join("tiny_diffusers");
    fs::create_dir_all(&inner).unwrap();
    let file = write("tiny_diffusers.safetensors", &inner);
    fs::rename(file, inner.join("diffusion_pytorch_model.safetensors")).unwrap();
    fs::copy(golden("checkpoints/tiny_config.json"), inner.join("config.json")).unwrap();
    inner
}
