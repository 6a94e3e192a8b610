//! Making compiled packages: a Python that has torch exports a network and compiles it.
//!
//! The script is part of this program and needs nothing but torch. It is handed what this program reads of
//! a model, in F32 and with diffusers' names, so that every container and every convention that can be
//! run can be compiled. What it made is loaded here and held to the network's own output before it gets its
//! name.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    ops::ControlFlow,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};
use tch::{Device, Kind, Tensor};

use crate::backends::{
    cuda,
    torch::{LIBTORCH, first_line},
};
use crate::core::{CLEAN, Denoiser, Draw, KeyedNoise, Level, Noise, Prediction};
use crate::data::{Places, atomic, sha256};
use crate::networks::{
    checkpoint::{Checkpoint, Which},
    compiled::{self, About, Compiled, CompiledError, FORMAT},
    conversion::{ConvertError, convert},
    files::ModelFiles,
    network::{Network, Wanted},
    open_error::OpenError,
    placement::{Placement, Precision},
    scheduler_config::SchedulerConfig,
};

/// The program in Python.
const SCRIPT: &str = include_str!("compile.py");

/// The variable that names the Python.
pub const PYTHON: &str = "DDIM_PYTHON";

/// How often an interruption is looked for.
const LOOK: Duration = Duration::from_millis(100);

/// Images and timesteps on which a package is held to its network.
const HELD: (usize, [f64; 3]) = (4, [0.0, 500.0, 999.0]);

/// Why nothing was compiled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The network cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The network cannot be handed over.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// It is a program already.
    #[error("{name} is {what}: compile the weights or the module that it was made from")]
    Program {
        /// The model.
        name: String,
        /// What kind of program.
        what: &'static str,
    },
    /// Nothing says how large its images are.
    #[error("{name}: nothing says how large its images are")]
    Size {
        /// The model.
        name: String,
    },
    /// The Python cannot be started.
    #[error("cannot start {python}: {source}")]
    Python {
        /// What was started.
        python: String,
        /// What the system said.
        source: io::Error,
    },
    /// Another Python is needed.
    #[error("{python}: {message}")]
    Unfit {
        /// The Python.
        python: String,
        /// What it said.
        message: String,
    },
    /// The script refuses the network.
    #[error("{0}")]
    Refused(String),
    /// PyTorch failed.
    #[error("{python}, {step}: {last}")]
    Failed {
        /// The Python.
        python: String,
        /// What it was doing.
        step: String,
        /// The last line that it wrote.
        last: String,
        /// All that it wrote.
        log: String,
    },
    /// The package cannot be run here.
    #[error("what was compiled cannot be run: {0}")]
    Load(#[from] CompiledError),
    /// The package computes something else.
    #[error(
        "what was compiled differs from the network by {} of its output (rms), and at most {} is \
         rounding in {}: it was not written",
        short(*found), short(*allowed), precision.name()
    )]
    Differs {
        /// The difference, relative.
        found: f64,
        /// What is allowed.
        allowed: f64,
        /// The package's precision.
        precision: Precision,
    },
    /// The network failed.
    #[error("{0}")]
    Run(#[from] crate::core::Error),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no folder for packages.
    #[error("there is no cache for compiled packages: set HOME or XDG_CACHE_HOME")]
    NoCache,
    /// LibTorch refused an operation.
    #[error("LibTorch: {}", first_line(.0))]
    Torch(#[from] tch::TchError),
    /// Ctrl-C.
    #[error("interrupted; nothing was written")]
    Interrupted,
}

fn short(x: f64) -> String {
    format!("{x:.1e}")
}

/// What is compiled.
#[derive(Clone, Debug)]
pub enum Source {
    /// A network that this program reads.
    Network {
        /// Its folder or file.
        path: PathBuf,
        /// Which of its weights.
        which: Which,
        /// The shape of its images, if the files do not say it or another is meant.
        shape: Option<[usize; 3]>,
    },
    /// A function of a file of Python that returns a module: `net.py:build`.
    Module {
        /// The file and the function.
        name: String,
        /// The shape of its images.
        shape: [usize; 3],
    },
}

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Order {
    /// What is compiled.
    pub source: Source,
    /// What it is called in the package.
    pub name: String,
    /// The device.
    pub device: Device,
    /// Images of one call; none for any number.
    pub batch: Option<usize>,
    /// The arithmetic inside.
    pub precision: Precision,
    /// Whether kernels are chosen by timing them.
    pub autotune: bool,
    /// Further options of Inductor, by name.
    pub inductor: Map<String, Value>,
    /// The Python.
    pub python: String,
}

/// How a package differs from what it was made from.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Root mean square of the difference, relative to that of the output.
    pub rms: f64,
    /// The most that is allowed.
    pub allowed: f64,
}

/// Called as time passes: the step, and the time since the start. A break ends the work.
pub type Watch<'a> = dyn FnMut(&str, Duration) -> ControlFlow<()> + 'a;

impl Order {
    /// Compiles, compares, and writes the package.
    ///
    /// # Errors
    /// A network that cannot be read, no Python with torch, a failure of PyTorch, and a package that
    /// computes something else.
    pub fn compile(&self, out: &Path, watch: &mut Watch<'_>) -> Result<Held, CompileError> {
        let room = tempfile::Builder::new().prefix("ddim-compile-").tempdir();
        let room = room.map_err(file(&std::env::temp_dir()))?;
        let made = room.path().join("net.pt2");
        let (request, network) = self.request(room.path(), &made)?;
        let script = room.path().join("ddim_compile.py");
        let request_file = room.path().join("request.json");
        fs::write(&script, SCRIPT).map_err(file(&script))?;
        fs::write(&request_file, request.to_string()).map_err(file(&request_file))?;
        self.python(room.path(), [&script, &request_file], watch)?;
        let compiled = Compiled::open(&made, self.device)?;
        let held = self.hold(&compiled, network.as_ref(), room.path())?;
        drop(compiled);
        if held.rms.is_nan() || held.rms > held.allowed {
            let (found, allowed, precision) = (held.rms, held.allowed, self.precision);
            return Err(CompileError::Differs { found, allowed, precision });
        }
        let mut place = atomic::beside(out).map_err(file(out))?;
        let mut package = File::open(&made).map_err(file(&made))?;
        io::copy(&mut package, place.as_file_mut()).map_err(file(out))?;
        atomic::put(place, out).map_err(file(out))?;
        Ok(held)
    }

    /// What the script is told, and the network that it is to compile.
    fn request(&self, room: &Path, out: &Path) -> Result<(Value, Option<Network>), CompileError> {
        let mut metadata = json!({
            "ddim.format": FORMAT,
            "ddim.by": env!("CARGO_PKG_VERSION"),
            "ddim.script": script_sha256(),
            "ddim.source": self.name,
        });
        if !self.inductor.is_empty() {
            metadata["ddim.inductor"] = json!(Value::from(self.inductor.clone()).to_string());
        }
        let mut request = json!({
            "batch": self.batch,
            "device": if self.device == Device::Cpu { "cpu" } else { "cuda" },
            "precision": self.precision.name(),
            "autotune": self.autotune,
            "inductor": self.inductor,
            "held": HELD.0,
            "out": out,
            "room": room,
        });
        let network = match &self.source {
            Source::Module { name, shape } => {
                request["module"] = json!(name);
                request["shape"] = json!(shape);
                None
            }
            Source::Network { path, which, shape } => {
                let placement = Placement { device: self.device, ..Placement::default() };
                let wanted = Wanted { which: *which, shape: *shape, placement };
                if let Some(what) = program(path, *which)? {
                    return Err(CompileError::Program { name: self.name.clone(), what });
                }
                let network = Network::open(path, &wanted)?;
                let size = || CompileError::Size { name: self.name.clone() };
                request["shape"] = json!(network.shape().ok_or_else(size)?);
                let converted = convert(path, *which, false, None)?;
                let weights = room.join("weights.safetensors");
                fs::write(&weights, &converted.safetensors).map_err(file(&weights))?;
                request["weights"] = json!(weights);
                let config: Value = serde_json::from_slice(&converted.json)
                    .expect("invariant: the configuration was written as JSON");
                request["config"] = config;
                metadata["ddim.weights"] = json!(network.sha256());
                // As in the file: what the script joins or divides is no concern of a reader.
                metadata["ddim.tensors"] = json!(network.tensors().to_string());
                metadata["ddim.parameters"] = json!(network.parameters().to_string());
                // What is wrong with the file is said where a manifest reads it.
                if let Ok(Some(scheduler)) = SchedulerConfig::find(path)
                    && let Ok(text) = fs::read_to_string(&scheduler)
                {
                    metadata["ddim.scheduler"] = json!(text);
                }
                Some(network)
            }
        };
        request["metadata"] = metadata;
        Ok((request, network))
    }

    /// Runs the script to its end.
    fn python(
        &self,
        room: &Path,
        arguments: [&PathBuf; 2],
        watch: &mut Watch<'_>,
    ) -> Result<(), CompileError> {
        let log = room.join("log");
        let errors = File::create(&log).map_err(file(&log))?;
        // Compilers write beside TMPDIR, and what they leave there goes with the folder.
        let scratch = room.join("scratch");
        fs::create_dir(&scratch).map_err(file(&scratch))?;
        let started = Command::new(&self.python)
            .args(arguments)
            .env("TMPDIR", &scratch)
            .env("TORCHINDUCTOR_CACHE_DIR", room.join("inductor"))
            .env("TRITON_CACHE_DIR", room.join("triton"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            // A group of its own, which ends with all the compilers in it.
            .process_group(0)
            .spawn();
        let mut child = Group(
            started
                .map_err(|source| CompileError::Python { python: self.python.clone(), source })?,
        );
        let output = child.0.stdout.take();
        let (sender, steps) = mpsc::channel();
        let reader = thread::spawn(move || {
            let lines = output.map(BufReader::new).into_iter().flat_map(BufRead::lines);
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let (begun, mut step) = (Instant::now(), "starting Python".to_owned());
        loop {
            if watch(&step, begun.elapsed()).is_break() {
                return Err(CompileError::Interrupted);
            }
            match steps.recv_timeout(LOOK) {
                Ok(line) => step = line,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let _ = reader.join();
        let status = child.0.wait().map_err(file(Path::new(&self.python)))?;
        if status.success() {
            return Ok(());
        }
        let log = fs::read_to_string(&log).unwrap_or_default();
        let python = self.python.clone();
        let said =
            |prefix| log.lines().find_map(|line| line.strip_prefix(prefix)).map(str::to_owned);
        if let Some(message) = said("unfit: ") {
            return Err(CompileError::Unfit { python, message });
        }
        if let Some(message) = said("refused: ") {
            return Err(CompileError::Refused(message));
        }
        let mut lines = log.lines().map(str::trim).filter(|line| !line.is_empty());
        let said = lines.clone().rfind(|line| line.contains("Error: "));
        let last = said.or_else(|| lines.next_back()).map_or_else(
            || format!("ended with {status}"),
            |line| line.chars().take(400).collect(),
        );
        Err(CompileError::Failed { python, step, last, log })
    }

    /// How the package differs from the network, or from the module's own output.
    fn hold(
        &self,
        compiled: &Compiled,
        network: Option<&Network>,
        room: &Path,
    ) -> Result<Held, CompileError> {
        let about = compiled.about();
        let sides = about.shape.map(|side| i64::try_from(side).unwrap_or(i64::MAX));
        let images = i64::try_from(HELD.0).unwrap_or(0);
        let shape = [images, sides[0], sides[1], sides[2]];
        let like = Tensor::f_zeros(shape, (Kind::Float, self.device))?;
        let noise = KeyedNoise { seed: 0, first: 0 };
        let (mut off, mut native) = (Off::default(), Off::default());
        let other = match (&self.source, self.precision) {
            (Source::Network { path, which, shape }, Precision::Bf16) => {
                let placement = Placement {
                    device: self.device,
                    precision: self.precision,
                    ..Placement::default()
                };
                let wanted = Wanted { which: *which, shape: *shape, placement };
                Some(Network::open(path, &wanted)?)
            }
            _ => None,
        };
        for (index, t) in HELD.1.into_iter().enumerate() {
            let label = Tensor::f_from_slice(&[t])?;
            if let Some(network) = network {
                let x = noise.draw(&like, Draw::Initial)?;
                let ask = |network: &Network| -> Result<Tensor, CompileError> {
                    let at = Level { t, ..CLEAN }.into();
                    let Prediction { eps, range, .. } = network.predict_with_range(&x, at)?;
                    Ok(Tensor::f_cat(
                        &[Some(eps), range].into_iter().flatten().collect::<Vec<_>>(),
                        1,
                    )?)
                };
                let expected = ask(network)?;
                off.add(&compiled.forward(&x, &label)?, &expected)?;
                if let Some(other) = &other {
                    native.add(&ask(other)?, &expected)?;
                }
            } else {
                let read = |name: &str, channels: i64| -> Result<Tensor, CompileError> {
                    let path = room.join(format!("{name}{index}.f32"));
                    let mut bytes = vec![];
                    let read = File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes));
                    read.map_err(file(&path))?;
                    let shape = [images, channels, sides[1], sides[2]];
                    Ok(Tensor::f_from_data_size(&bytes, &shape, Kind::Float)?)
                };
                let channels = i64::try_from(about.channels).unwrap_or(0);
                let (x, expected) = (read("x", sides[0])?, read("eps", channels)?);
                off.add(&compiled.forward(&x, &label)?, &expected)?;
            }
        }
        let mut allowed = allowed(self.precision, about.tf32.as_deref());
        if other.is_some() {
            // A network may lose more in bf16 than most do, however it is run.
            allowed = allowed.max(2.0 * native.rms());
        }
        Ok(Held { rms: off.rms(), allowed })
    }
}

/// The mean squares of differences and of what they are relative to.
#[derive(Default)]
struct Off {
    difference: f64,
    output: f64,
}

impl Off {
    fn add(&mut self, found: &Tensor, expected: &Tensor) -> Result<(), tch::TchError> {
        let squares = |x: &Tensor| -> Result<f64, tch::TchError> {
            x.f_to_kind(Kind::Double)?.f_square()?.f_mean(Kind::Double)?.f_double_value(&[])
        };
        let expected = expected.f_to_device(found.device())?;
        self.difference += squares(&found.f_sub(&expected)?)?;
        self.output += squares(&expected)?;
        Ok(())
    }

    fn rms(&self) -> f64 {
        (self.difference / self.output).sqrt()
    }
}

/// The relative difference, root mean square, that rounding may make.
fn allowed(precision: Precision, tf32: Option<&str>) -> f64 {
    match (precision, tf32) {
        // Eight bits of a product's factors.
        (Precision::Bf16, _) => 5e-2,
        // Eleven.
        (Precision::F32, Some(rounded)) if rounded != "off" => 5e-3,
        (Precision::F32, _) => 1e-4,
    }
}

/// What a model is if it is no weights.
fn program(path: &Path, which: Which) -> Result<Option<&'static str>, OpenError> {
    let files = ModelFiles::find(path, which)?;
    Ok(Checkpoint::open(&files.weights)?.container.program())
}

fn file(path: &Path) -> impl Fn(io::Error) -> CompileError {
    let path = path.to_owned();
    move |source| CompileError::File { path: path.clone(), source }
}

/// A process and all that it started, ended together where it was not waited for.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            let group = format!("-{}", self.0.id());
            let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
            let _ = self.0.wait();
        }
    }
}

/// SHA-256 of the script, which decides what a package computes.
fn script_sha256() -> String {
    sha256(SCRIPT.as_bytes())
}

/// The Python that compiles unless another is named.
pub fn default_python() -> String {
    let named = std::env::var(PYTHON).ok().filter(|python| !python.is_empty());
    named.unwrap_or_else(|| "python3".to_owned())
}

/// Where the package of an order is kept, whether it is there or not.
///
/// Its name is a hash of all that decides what it computes and where it runs: the weights and their
/// configuration, device, processor or GPU, precision, batch, LibTorch and the script.
///
/// # Errors
/// A network that cannot be read, and no folder for caches.
pub fn cached(order: &Order) -> Result<PathBuf, CompileError> {
    let Source::Network { path, which, shape } = &order.source else {
        return Err(CompileError::NoCache);
    };
    let files = ModelFiles::find(path, *which)?;
    let config = files.read_config().map_err(OpenError::from)?;
    let checkpoint = Checkpoint::open(&files.weights).map_err(OpenError::from)?;
    if let Some(what) = checkpoint.container.program() {
        return Err(CompileError::Program { name: order.name.clone(), what });
    }
    let machine = match order.device {
        Device::Cpu => compiled::processor().join(" "),
        _ => cuda::architecture().unwrap_or_default(),
    };
    let tf32 = std::env::var("NVIDIA_TF32_OVERRIDE").ok().filter(|_| order.device != Device::Cpu);
    let identity = json!({
        "weights": checkpoint.sha256,
        "raw": *which == Which::Raw,
        "config": config.map(|config| config.to_json()),
        "shape": shape,
        "device": if order.device == Device::Cpu { "cpu" } else { "cuda" },
        "machine": machine,
        "tf32": tf32,
        "batch": order.batch,
        "precision": order.precision.name(),
        "libtorch": LIBTORCH,
        "script": script_sha256(),
    });
    let folder = Places::from_env().cache.ok_or(CompileError::NoCache)?.join("compiled");
    Ok(folder.join(format!("{}.pt2", &sha256(identity.to_string().as_bytes())[..32])))
}

/// Whether a package is there that can be run.
pub fn is_there(path: &Path) -> bool {
    path.is_file() && matches!(About::read(path), Ok(Some(_)))
}
