//! The readers of files from elsewhere, each as a function of bytes.
//!
//! A reader may refuse what it is given. It must not panic, hang, or take more memory than its limits
//! allow. The targets in `fuzz/` look for bytes that make it; the test here shows each reader those
//! that were found or are close to them.

use std::{
    fs,
    io::{Cursor, Write as _},
    path::Path,
    sync::OnceLock,
};

use tempfile::TempDir;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use crate::{
    data::{Fit, Images, Split, array, cifar10, folder, idx, npy},
    manifest::{Argument, Manifest, Vocabulary},
    measure::{reference::Reference, reference_files},
    networks::{
        checkpoint::{self, Checkpoint, Which},
        scheduler_config::{SCHEDULER, SchedulerConfig},
        unet_config::UnetConfig,
    },
    run::{assemble, latents, registry::Registry},
    train::recipe::Recipe,
};

/// A reader of bytes.
pub type Target = fn(&[u8]);

/// Every target, by the name of its folder in `fuzz/corpus`.
pub const TARGETS: [(&str, Target); 11] = [
    ("cifar10", cifar10),
    ("config", config),
    ("idx", idx),
    ("image", image),
    ("latents", latents),
    ("manifest", manifest),
    ("numpy", numpy),
    ("pickle", pickle),
    ("safetensors", safetensors),
    ("torch_legacy", torch_legacy),
    ("torch_zip", torch_zip),
];

/// Lets a reader see bytes as a file of that name, alone in its folder.
fn file(name: &str, bytes: &[u8], read: impl FnOnce(&Path)) {
    thread_local! {
        static FOLDER: TempDir = {
            let memory = Path::new("/dev/shm");
            let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
            folder.expect("a folder for scratch files can be made")
        };
    }
    FOLDER.with(|folder| {
        let path = folder.path().join(name);
        let folder = path.parent().expect("invariant: a file is in a folder");
        fs::create_dir_all(folder).expect("a folder for scratch files can be made");
        fs::write(&path, bytes).expect("a scratch file can be written");
        read(&path);
        fs::remove_file(&path).expect("a scratch file can be removed");
    });
}

/// The first byte, which chooses, and the rest.
fn choice(bytes: &[u8]) -> (u8, &[u8]) {
    bytes.split_first().map_or((0, bytes), |(first, rest)| (*first, rest))
}

/// The manifest of an experiment or of a training; after each zero byte, an argument of `--set`.
pub fn manifest(bytes: &[u8]) {
    static WORDS: OnceLock<Vocabulary> = OnceLock::new();
    let words = WORDS.get_or_init(|| Vocabulary {
        weights: None,
        stated: None,
        precision: None,
        ..assemble::vocabulary(&Registry::shipped())
    });
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut parts = text.split('\0');
    let text = parts.next().unwrap_or_default();
    let arguments: Vec<Argument> = parts.take(4).map(Argument::set).collect();
    let manifest = match Manifest::parse("fuzz.toml", text) {
        Ok(manifest) => manifest,
        Err(problems) => return drop(problems.render(false)),
    };
    let profile = manifest.profiles().next();
    for profile in [None, profile] {
        match manifest.plan(profile, &arguments, words) {
            Ok(plan) => {
                let run = Manifest::parse("as-run.toml", plan.text.as_str());
                let again = run.and_then(|run| run.plan_of_run(words));
                let again = again.unwrap_or_else(|error| {
                    panic!("what was run is not read: {}\n{}", error.render(false), plan.text)
                });
                assert_eq!(again.cells.len(), plan.cells.len());
            }
            Err(problems) => drop(problems.render(false)),
        }
        if let Err(problems) = Recipe::of(&manifest, profile, &arguments) {
            drop(problems.render(false));
        }
    }
}

/// A pickle, and the sets of weights in it.
pub fn pickle(bytes: &[u8]) {
    checkpoint::look_into_pickle(bytes);
}

fn weights(path: &Path) {
    let Ok(file) = Checkpoint::open(path) else { return };
    for which in [Which::Ema, Which::Raw] {
        if let Ok(part) = file.choose(which) {
            let _ = file.reason(part, which).to_string();
        }
    }
    for part in &file.parts {
        let _ = part.shapes();
        let _ = file.load(part);
    }
}

/// What `torch.save` writes: an archive, or the pickle from which one is made.
pub fn torch_zip(bytes: &[u8]) {
    if bytes.starts_with(b"PK") {
        return file("weights.pt", bytes, weights);
    }
    let mut archive = ZipWriter::new(Cursor::new(vec![]));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let records: [(&str, &[u8]); 4] =
        [("data.pkl", bytes), ("data/0", &[1; 64]), ("data/1", &[2; 4]), ("byteorder", b"little")];
    for (name, content) in records {
        archive.start_file(format!("x/{name}"), stored).expect("memory can be written");
        archive.write_all(content).expect("memory can be written");
    }
    let archive = archive.finish().expect("memory can be written").into_inner();
    file("weights.pt", &archive, weights);
}

/// What `torch.save` wrote before PyTorch 1.6.
pub fn torch_legacy(bytes: &[u8]) {
    if bytes.starts_with(b"\x80\x02\x8a\x0a") {
        file("weights.ckpt", bytes, weights);
    }
}

/// Weights as safetensors.
pub fn safetensors(bytes: &[u8]) {
    file("weights.safetensors", bytes, weights);
}

/// Reads what could be opened.
fn all(images: &impl Images) {
    drop(images.read(0..images.shape()[0]));
}

fn arrays(path: &Path) {
    drop(array::open(path, None).map(|(images, _)| all(&images)));
    let _ = array::read_floats(path, "0,1".parse().ok());
    let _ = npy::read_images(path);
    if reference_files::is_statistics(path) {
        let _ = Reference::read(path);
    }
}

/// Arrays: a `.npy`, an `.npz`, or the rest of the `.npy` in a compressed `.npz`.
pub fn numpy(bytes: &[u8]) {
    if bytes.starts_with(b"PK") {
        file("x.npz", bytes, arrays);
    } else if let Some(rest) = bytes.strip_prefix(b"z") {
        let mut archive = ZipWriter::new(Cursor::new(vec![]));
        let deflated = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        for name in ["mu.npy", "sigma.npy"] {
            archive.start_file(name, deflated).expect("memory can be written");
            archive.write_all(rest).expect("memory can be written");
        }
        let archive = archive.finish().expect("memory can be written").into_inner();
        file("x.npz", &archive, arrays);
    } else {
        file("x.npy", bytes, arrays);
    }
}

/// Latents and reference statistics, in either of their formats.
pub fn latents(bytes: &[u8]) {
    let read = |path: &Path| {
        let _ = latents::read(path);
        let _ = Reference::read(path);
    };
    let name = if bytes.starts_with(b"\x93NUMPY") { "z.npy" } else { "z.safetensors" };
    file(name, bytes, read);
}

/// The layout of MNIST, gzipped or not.
pub fn idx(bytes: &[u8]) {
    file("t10k-images-idx3-ubyte", bytes, |path| {
        drop(idx::open(path).map(|(images, _)| all(&images)));
    });
}

/// What says how a network is built and what it was trained for, by the first byte: `c`, `config.json`;
/// `s`, `scheduler_config.json`; otherwise, an index of shards.
pub fn config(bytes: &[u8]) {
    let (which, bytes) = choice(bytes);
    match which {
        b'c' => {
            let Ok(text) = std::str::from_utf8(bytes) else { return };
            if let Ok(config) = UnetConfig::parse(text, Path::new("config.json")) {
                let _ = config.tensors();
                let again = UnetConfig::parse(&config.to_json(), Path::new("config.json"));
                assert_eq!(again.expect("what is written is read"), config);
            }
        }
        b's' => file(SCHEDULER, bytes, |path| {
            if let Ok(config) = SchedulerConfig::read(path) {
                let _ = (config.whole(), config.to_json());
            }
        }),
        _ => file("x.index.json", bytes, weights),
    }
}

/// Image files of any format; the first byte chooses the resizing.
pub fn image(bytes: &[u8]) {
    let (which, bytes) = choice(bytes);
    let resize = match which {
        b'c' => "center-crop:8",
        b'p' => "pad:64",
        b'r' => "resize-crop:16",
        b's' => "squash:8",
        _ => "none",
    };
    let fit = Fit { resize: resize.parse().unwrap_or_default(), ..Fit::default() };
    file("images/image.png", bytes, |path| {
        drop(folder::open(path.parent().unwrap_or(path), None, fit).map(|set| all(&set.images)));
    });
}

/// CIFAR-10, by the first byte: `b`, a batch; `p`, one of Python's; `x`, a list of exclusions;
/// otherwise, an archive.
pub fn cifar10(bytes: &[u8]) {
    let (which, bytes) = choice(bytes);
    let read =
        |path: &Path| drop(cifar10::open(path, Split::Test, None).map(|set| all(&set.images)));
    let of_folder = |path: &Path| read(path.parent().unwrap_or(path));
    match which {
        b'b' => file("binary/test_batch.bin", bytes, of_folder),
        b'p' => file("python/test_batch", bytes, of_folder),
        b'x' => file("list.csv", bytes, |path| drop(cifar10::Exclusions::read(path))),
        _ => file("cifar-10-binary.tar.gz", bytes, read),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A generator of numbers that needs to be neither good nor slow.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, n: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(self.0 >> 33).unwrap_or(0) % n.max(1)
        }

        /// The same bytes but for one or a few places.
        fn mutated(&mut self, bytes: &[u8], other: &[u8]) -> Vec<u8> {
            const TELLING: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, b'9', b'\n', b'['];
            let mut bytes = bytes.to_vec();
            for _ in 0..=self.below(3) {
                let place = self.below(bytes.len());
                let span = self.below(9).min(bytes.len() - place);
                match self.below(6) {
                    0 if !bytes.is_empty() => bytes[place] ^= 1 << self.below(8),
                    1 if !bytes.is_empty() => bytes[place] = TELLING[self.below(8)],
                    2 => drop(bytes.drain(place..place + span)),
                    3 => bytes.truncate(place),
                    4 => {
                        let copy = bytes[place..place + span].repeat(1 + self.below(4));
                        bytes.splice(place..place, copy);
                    }
                    _ => {
                        let from = self.below(other.len());
                        let to = (from + 1 + self.below(32)).min(other.len());
                        bytes.splice(place..place + span, other[from..to].iter().copied());
                    }
                }
            }
            bytes
        }
    }

    #[test]
    fn no_reader_panics_at_its_corpus_and_what_is_close_to_it() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        for (name, target) in TARGETS {
            let files = fs::read_dir(corpus.join(name)).unwrap();
            let mut files: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
            files.sort();
            assert!(files.len() > 2, "{name} has no corpus");
            let seeds: Vec<Vec<u8>> = files.iter().map(|path| fs::read(path).unwrap()).collect();
            let run = |bytes: &[u8]| {
                let result = std::panic::catch_unwind(|| target(bytes));
                assert!(result.is_ok(), "{name} panics at {}", bytes.escape_ascii());
            };
            for bytes in &seeds {
                run(bytes);
            }
            let mut dice = Dice(u64::from(u32::from_be_bytes(*b"ddim")));
            for _ in 0..500 {
                let (seed, other) = (dice.below(seeds.len()), dice.below(seeds.len()));
                run(&dice.mutated(&seeds[seed], &seeds[other]));
            }
        }
    }
}
