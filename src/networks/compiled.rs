//! Networks compiled ahead of time: AOTInductor packages, `forward(x, t) -> eps` in native code.
//!
//! A package is made for one kind of device, one precision, one shape of images, and a number of images
//! or any number. It says so in texts that `ddim compile` keeps in it ([`About`]); a package without them
//! is refused, because nothing in native code shows what it takes, and what does not fit it is computed
//! wrongly rather than refused. It is a program: opening it runs its code.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::Serialize;
use tch::{Device, Kind, Tensor};

use crate::backends::{
    cuda,
    package::Package,
    torch::{LIBTORCH, first_line},
};
use crate::networks::{
    checkpoint::{CheckpointError, package},
    placement::Precision,
};

/// The meaning of the texts in a package; another number is another meaning.
pub const FORMAT: &str = "1";

/// Why a package could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompiledError {
    /// The file.
    #[error(transparent)]
    File(#[from] CheckpointError),
    /// It does not say what it takes.
    #[error(
        "{} is an AOTInductor package that does not say what it takes ({problem}); make one with \
         `ddim compile`, which also compiles a module of your own",
        path.display()
    )]
    Unstated {
        /// The package.
        path: PathBuf,
        /// What is missing or wrong.
        problem: String,
    },
    /// It was made for another kind of device.
    #[error(
        "{} was compiled for {made}, and this runs on {here}",
        path.display()
    )]
    Device {
        /// The package.
        path: PathBuf,
        /// What it was made for.
        made: String,
        /// The device asked for.
        here: &'static str,
    },
    /// It was made for another processor or GPU.
    #[error("{} was compiled for {made}, and {here}: compile it again on this machine", path.display())]
    Machine {
        /// The package.
        path: PathBuf,
        /// What it was made for.
        made: String,
        /// What is here.
        here: String,
    },
    /// It was made by a PyTorch that is newer than the LibTorch that would run it.
    #[error(
        "{} was compiled by torch {torch}, which is newer than the LibTorch {LIBTORCH} that runs it \
         here: compile it again with a Python that has torch 2.11 or older",
        path.display()
    )]
    Newer {
        /// The package.
        path: PathBuf,
        /// The version that made it.
        torch: String,
    },
    /// Its own kernels round to TF32, and that is switched off.
    #[error(
        "{} was compiled with kernels that round to TF32, and NVIDIA_TF32_OVERRIDE=0 switches that off: \
         compile it again with that variable set",
        path.display()
    )]
    Tf32 {
        /// The package.
        path: PathBuf,
    },
    /// LibTorch cannot load it.
    #[error("{}: LibTorch cannot load the package: {message}; compile it again on this machine", path.display())]
    Load {
        /// The package.
        path: PathBuf,
        /// What LibTorch said.
        message: String,
    },
    /// It failed.
    #[error("{}: the compiled network failed: {message}", path.display())]
    Run {
        /// The package.
        path: PathBuf,
        /// What LibTorch said.
        message: String,
    },
    /// It was given or returned something of another shape.
    #[error("{}: {what} have shape {found:?}; the package was compiled for {expected}", path.display())]
    Shape {
        /// The package.
        path: PathBuf,
        /// What has that shape.
        what: &'static str,
        /// The shape.
        found: Vec<i64>,
        /// What it should be.
        expected: String,
    },
    /// LibTorch refused an operation around it.
    #[error("LibTorch: {}", first_line(.0))]
    Torch(#[from] tch::TchError),
}

/// What a package says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct About {
    /// `cpu` or `cuda`.
    pub device: String,
    /// The GPU's architecture, `sm_90` for instance; absent for the CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// The GPU's name; absent for the CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// Whether TF32 was `on` or `off` when it was made; absent for the CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tf32: Option<String>,
    /// Whether its kernels were chosen by timing them.
    pub autotuned: bool,
    /// `x86_64` for instance.
    pub machine: String,
    /// Instruction sets of the processor that the code may use, apart by spaces; empty for a GPU.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub processor: String,
    /// Images of one call; absent for any number.
    pub batch: Option<usize>,
    /// Shape of one image, `[C, H, W]`.
    pub shape: [usize; 3],
    /// Channels of the output.
    pub channels: usize,
    /// Whether one timestep in f64 serves all images of a call; otherwise each has its own, in f32.
    pub shared: bool,
    /// The arithmetic inside.
    pub precision: Precision,
    /// The PyTorch that made it.
    pub torch: String,
    /// The number of weight tensors.
    pub tensors: usize,
    /// The number of parameters in them.
    pub parameters: usize,
    /// What it was made from, as it was called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// SHA-256 of the weights that it was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// The `scheduler_config.json` of what it was made from.
    #[serde(skip)]
    pub scheduler: Option<String>,
}

impl About {
    /// What a package says; none if the file is no package.
    ///
    /// # Errors
    /// A file that cannot be read, and a package that does not say enough.
    pub fn read(path: &Path) -> Result<Option<Self>, CompiledError> {
        let Some(texts) = package::metadata(path)? else { return Ok(None) };
        let unstated = |problem| CompiledError::Unstated { path: path.to_owned(), problem };
        Self::of(&texts).map(Some).map_err(unstated)
    }

    fn of(texts: &BTreeMap<String, String>) -> Result<Self, String> {
        let maybe = |key: &str| texts.get(&format!("ddim.{key}")).cloned();
        let text = |key: &str| maybe(key).ok_or_else(|| format!("it has no `ddim.{key}`"));
        let number = |key: &str| parsed::<usize>(key, &text(key)?);
        let choice = |key: &str, of: [&str; 2]| {
            let value = text(key)?;
            let index = of.iter().position(|choice| *choice == value);
            index.ok_or_else(|| format!("`ddim.{key}` is `{value}`, not {} or {}", of[0], of[1]))
        };
        let format = text("format")?;
        if format != FORMAT {
            return Err(format!("`ddim.format` is `{format}`; known: {FORMAT}"));
        }
        let sides = text("shape")?;
        let sides = sides.split(',').map(|side| parsed("shape", side));
        let sides = sides.collect::<Result<Vec<usize>, String>>()?;
        let batch = match text("batch")?.as_str() {
            "dynamic" => None,
            size => Some(parsed("batch", size)?),
        };
        if batch == Some(0) {
            return Err("`ddim.batch` is `0`".to_owned());
        }
        Ok(Self {
            device: ["cpu", "cuda"][choice("device", ["cpu", "cuda"])?].to_owned(),
            architecture: maybe("architecture"),
            gpu: maybe("gpu"),
            tf32: maybe("tf32"),
            autotuned: maybe("autotuned").is_some_and(|autotuned| autotuned == "yes"),
            machine: text("machine")?,
            processor: maybe("processor").unwrap_or_default(),
            batch,
            shape: sides.try_into().map_err(|_| "`ddim.shape` is not C,H,W".to_owned())?,
            channels: number("channels")?,
            shared: choice("timesteps", ["n", "1"])? == 1,
            precision: [Precision::F32, Precision::Bf16][choice("precision", ["f32", "bf16"])?],
            torch: text("torch")?,
            tensors: number("tensors")?,
            parameters: number("parameters")?,
            source: maybe("source"),
            weights: maybe("weights"),
            scheduler: maybe("scheduler"),
        })
    }

    /// Whether it predicts the range of a learned variance beside eps.
    pub fn predicts_range(&self) -> bool {
        self.channels == 2 * self.shape[0]
    }

    /// Checks that this machine can run it.
    ///
    /// # Errors
    /// Another kind of device, another GPU, a processor that lacks instructions, a newer PyTorch.
    fn check(&self, path: &Path, device: Device) -> Result<(), CompiledError> {
        let path = path.to_owned();
        let here = if device == Device::Cpu { "cpu" } else { "cuda" };
        if self.device != here {
            return Err(CompiledError::Device { path, made: self.device.clone(), here });
        }
        if version(&self.torch) > version(LIBTORCH) {
            return Err(CompiledError::Newer { path, torch: self.torch.clone() });
        }
        if self.machine != std::env::consts::ARCH {
            let here = format!("this is {}", std::env::consts::ARCH);
            return Err(CompiledError::Machine { path, made: self.machine.clone(), here });
        }
        if device == Device::Cpu {
            let has = processor();
            let lacks = |set: &&str| !has.iter().any(|here| here == set);
            let missing: Vec<&str> = self.processor.split_whitespace().filter(lacks).collect();
            if !missing.is_empty() && !has.is_empty() {
                let here = format!("this one lacks {}", missing.join(", "));
                let made = "another processor".to_owned();
                return Err(CompiledError::Machine { path, made, here });
            }
        } else if let (Some(made), Some(here)) = (&self.architecture, cuda::architecture())
            && *made != here
        {
            let made = format!("{made} ({})", self.gpu.as_deref().unwrap_or("another GPU"));
            return Err(CompiledError::Machine { path, made, here: format!("this GPU is {here}") });
        }
        // Kernels of LibTorch's own follow the program that runs them, those of the package do not.
        let off = std::env::var("NVIDIA_TF32_OVERRIDE").is_ok_and(|choice| choice == "0");
        let rounds = self.tf32.as_deref() == Some("on") && self.precision == Precision::F32;
        if self.autotuned && rounds && off {
            return Err(CompiledError::Tf32 { path });
        }
        Ok(())
    }
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let precision = self.precision.name();
        write!(f, "compiled by torch {} for {}, {precision}, ", self.torch, self.device)?;
        match self.batch {
            Some(batch) => write!(f, "{batch} images a call")?,
            None => f.write_str("any number of images a call")?,
        }
        if let Some(source) = &self.source {
            write!(f, ", from {source}")?;
        }
        if let Some(weights) = &self.weights {
            write!(f, " (sha256 {weights})")?;
        }
        Ok(())
    }
}

fn parsed<T: FromStr>(key: &str, text: &str) -> Result<T, String> {
    text.trim().parse().map_err(|_| format!("`ddim.{key}` is `{text}`"))
}

/// Major and minor version.
fn version(text: &str) -> (u32, u32) {
    let mut numbers = text.split(['.', '+']).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// The instruction sets of this machine's processor.
pub(super) fn processor() -> Vec<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = info.lines().find(|line| line.starts_with("flags") || line.starts_with("Features"));
    let flags = flags.and_then(|line| line.split_once(':')).map_or("", |(_, flags)| flags);
    flags.split_whitespace().map(str::to_owned).collect()
}

/// A package, ready to run.
#[derive(Debug)]
pub struct Compiled {
    package: Package,
    about: About,
    path: PathBuf,
    device: Device,
}

impl Compiled {
    /// Checks that a package fits the device, and loads its code.
    ///
    /// # Errors
    /// A package that does not say what it takes, does not fit, or cannot be loaded.
    pub fn open(path: &Path, device: Device) -> Result<Self, CompiledError> {
        let about = About::read(path)?.ok_or_else(|| CompiledError::Unstated {
            path: path.to_owned(),
            problem: "it is no package".to_owned(),
        })?;
        about.check(path, device)?;
        let package = Package::open(path, device).map_err(|error| CompiledError::Load {
            path: path.to_owned(),
            message: error.to_string(),
        })?;
        Ok(Self { package, about, path: path.to_owned(), device })
    }

    /// What it says about itself.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Runs the network without keeping track of gradients.
    ///
    /// - Shape: images `[N, C, H, W]`; t `[1]`, for all images; result as the images, or with twice their
    ///   channels.
    /// - Units: t is the 0-based timestep; images and result are f32.
    ///
    /// Of a package for B images a call, N images are N / B calls, the last one filled up with zeros, whose
    /// results are cut off.
    ///
    /// # Errors
    /// Images of another shape, and code that fails or returns another shape.
    pub fn forward(&self, images: &Tensor, t: &Tensor) -> Result<Tensor, CompiledError> {
        let sides = self.about.shape.map(|side| i64::try_from(side).unwrap_or(i64::MAX));
        let found = images.size();
        if found.len() != 4 || found[1..] != sides {
            let expected = format!("[N, {}, {}, {}]", sides[0], sides[1], sides[2]);
            return Err(self.shape("images", found, expected));
        }
        if t.size() != [1] {
            return Err(self.shape("timesteps", t.size(), "[1]".to_owned()));
        }
        tch::no_grad(|| {
            let images = images.f_to_device(self.device)?.f_to_kind(Kind::Float)?;
            // Networks read here compute the timestep's features in f64.
            let kind = if self.about.shared { Kind::Double } else { Kind::Float };
            let t = t.f_to_device(self.device)?.f_to_kind(kind)?;
            in_calls(&images, self.about.batch, |images| self.call(images, &t))
        })
    }

    /// One call.
    fn call(&self, images: &Tensor, t: &Tensor) -> Result<Tensor, CompiledError> {
        let mut expected = images.size();
        expected[1] = i64::try_from(self.about.channels).unwrap_or(i64::MAX);
        let t = if self.about.shared { t.shallow_clone() } else { t.f_repeat([expected[0]])? };
        let out = self.package.run(&aligned(images)?, &t);
        let out = out.map_err(|error| CompiledError::Run {
            path: self.path.clone(),
            message: error.to_string(),
        })?;
        if out.size() != expected {
            return Err(self.shape("results", out.size(), format!("{expected:?}")));
        }
        Ok(out.f_to_kind(Kind::Float)?)
    }

    fn shape(&self, what: &'static str, found: Vec<i64>, expected: String) -> CompiledError {
        CompiledError::Shape { path: self.path.clone(), what, found, expected }
    }
}

/// The same values in the order and at an address that compiled code takes for granted.
fn aligned(x: &Tensor) -> Result<Tensor, tch::TchError> {
    let x = x.f_contiguous()?;
    if x.data_ptr().addr().is_multiple_of(64) {
        return Ok(x);
    }
    let mut copy = x.f_empty_like()?;
    copy.f_copy_(&x)?;
    Ok(copy)
}

/// Runs calls of `batch` images, or one of all of them.
fn in_calls(
    images: &Tensor,
    batch: Option<usize>,
    mut call: impl FnMut(&Tensor) -> Result<Tensor, CompiledError>,
) -> Result<Tensor, CompiledError> {
    let n = images.size()[0];
    let size = batch.map_or(n, |batch| i64::try_from(batch).unwrap_or(i64::MAX));
    if n == size {
        return call(images);
    }
    let mut parts = vec![];
    for first in (0..n).step_by(usize::try_from(size).unwrap_or(1)) {
        let rows = size.min(n - first);
        let mut part = images.f_narrow(0, first, rows)?;
        if rows < size {
            let mut shape = part.size();
            shape[0] = size - rows;
            let zeros = Tensor::f_zeros(shape.as_slice(), (part.f_kind()?, part.device()))?;
            part = Tensor::f_cat(&[part, zeros], 0)?;
        }
        parts.push(call(&part)?.f_narrow(0, 0, rows)?);
    }
    Ok(Tensor::f_cat(&parts, 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(changes: &[(&str, &str)]) -> BTreeMap<String, String> {
        let mut texts: BTreeMap<&str, &str> = [
            ("format", "1"),
            ("device", "cpu"),
            ("machine", std::env::consts::ARCH),
            ("batch", "4"),
            ("shape", "3,8,16"),
            ("channels", "6"),
            ("timesteps", "1"),
            ("precision", "bf16"),
            ("torch", "2.11.0+cu130"),
            ("tensors", "2"),
            ("parameters", "30"),
        ]
        .into();
        texts.extend(changes.iter().copied());
        let kept = texts.into_iter().filter(|(_, text)| !text.is_empty());
        kept.map(|(key, text)| (format!("ddim.{key}"), text.to_owned())).collect()
    }

    #[test]
    fn a_package_says_what_it_takes_or_is_refused_by_what_is_missing() {
        let about = About::of(&texts(&[])).unwrap();
        assert_eq!((about.batch, about.shape, about.shared), (Some(4), [3, 8, 16], true));
        assert!(about.predicts_range() && about.precision == Precision::Bf16);
        let any = About::of(&texts(&[("batch", "dynamic"), ("timesteps", "n")])).unwrap();
        assert_eq!((any.batch, any.shared), (None, false));
        for (key, text, problem) in [
            ("shape", "", "it has no `ddim.shape`"),
            ("shape", "3,8", "`ddim.shape` is not C,H,W"),
            ("shape", "3,8,x", "`ddim.shape` is `x`"),
            ("batch", "0", "`ddim.batch` is `0`"),
            ("device", "xpu", "`ddim.device` is `xpu`, not cpu or cuda"),
            ("format", "2", "`ddim.format` is `2`; known: 1"),
            ("tensors", "-1", "`ddim.tensors` is `-1`"),
        ] {
            assert_eq!(About::of(&texts(&[(key, text)])).unwrap_err(), problem);
        }
    }

    #[test]
    fn a_package_runs_where_it_was_made_for_and_nowhere_else() {
        let check = |changes: &[(&str, &str)], device| {
            let about = About::of(&texts(changes)).unwrap();
            about.check(Path::new("net.pt2"), device).map_err(|error| error.to_string())
        };
        check(&[], Device::Cpu).unwrap();
        check(&[("processor", "")], Device::Cpu).unwrap();
        // Older ones are welcome.
        check(&[("torch", "2.9.1")], Device::Cpu).unwrap();
        for (key, text, problem) in [
            ("torch", "2.12.0", "newer than the LibTorch 2.11.0"),
            ("torch", "3.0.0", "newer than the LibTorch 2.11.0"),
            ("machine", "riscv64", "was compiled for riscv64, and this is"),
            ("device", "cuda", "was compiled for cuda, and this runs on cpu"),
            ("processor", "no_such_set", "this one lacks no_such_set"),
        ] {
            let error = check(&[(key, text)], Device::Cpu).unwrap_err();
            assert!(error.starts_with("net.pt2 ") && error.contains(problem), "{error}");
        }
        let error = check(&[], Device::Cuda(0)).unwrap_err();
        assert!(error.contains("was compiled for cpu, and this runs on cuda"), "{error}");
    }

    #[test]
    fn any_number_of_images_is_calls_of_the_packages_own_number() {
        let images = Tensor::arange(7 * 2 * 9, (Kind::Float, Device::Cpu)).reshape([7, 2, 3, 3]);
        for (batch, expected) in [
            (Some(3), vec![3, 3, 3]),
            (Some(7), vec![7]),
            (Some(16), vec![16]),
            (Some(1), vec![1; 7]),
            (None, vec![7]),
        ] {
            let mut calls = vec![];
            let out = in_calls(&images, batch, |x| {
                calls.push(x.size()[0]);
                Ok(x * 2.0 + 1.0)
            });
            let out = out.unwrap();
            assert_eq!(calls, expected, "{batch:?}");
            assert!(out.equal(&(&images * 2.0 + 1.0)), "{batch:?}");
        }
        // What fills the last call up is zero.
        let mut last = None;
        let out = in_calls(&images, Some(4), |x| {
            last = Some(x.shallow_clone());
            Ok(x.shallow_clone())
        });
        let (out, last) = (out.unwrap(), last.unwrap());
        assert!(out.equal(&images));
        assert!(last.narrow(0, 0, 3).equal(&images.narrow(0, 4, 3)));
        assert!(
            last.narrow(0, 3, 1).equal(&Tensor::zeros([1, 2, 3, 3], (Kind::Float, Device::Cpu)))
        );
    }

    #[test]
    fn code_is_given_what_it_takes_for_granted() {
        let whole = Tensor::arange(65, (Kind::Float, Device::Cpu));
        let shifted = whole.narrow(0, 1, 64);
        let x = aligned(&shifted).unwrap();
        assert!(x.data_ptr().addr().is_multiple_of(64) && x.equal(&shifted));
        let rows = aligned(&whole.narrow(0, 0, 64).reshape([8, 8]).tr()).unwrap();
        assert!(rows.is_contiguous());
    }
}
