//! The device a run computes on, and its threads.

pub mod memory;

use std::{io, sync::RwLock, thread};

use tch::Device;

use crate::backends::cuda::{self, CudaError};
use crate::error::{Error, Result};
use crate::networks::placement::Precision;

/// A device that works.
#[derive(Clone, Debug)]
pub struct Hardware {
    device: Device,
    /// `cpu` or `cuda`; another than the device's, if only what was drawn on it is put together.
    name: &'static str,
    threads: usize,
}

impl Hardware {
    /// Opens `cpu`, `cuda` or a GPU by its index, `cuda:1`, and sets the number of threads of LibTorch and of this program.
    ///
    /// # Errors
    /// If something is missing for CUDA, or the number of threads is out of range.
    pub fn open(name: &str, threads: Option<usize>) -> Result<Self> {
        let (device, name) = match (name, gpu(name)) {
            ("cpu", _) => (Device::Cpu, "cpu"),
            ("cuda", _) | (_, Some(_)) => {
                let chosen = gpu(name).map_or(Ok(()), cuda::choose);
                let device = chosen.and_then(|()| cuda::device()).map_err(|error| {
                    let remedy = match error {
                        CudaError::NoLibrary { .. } | CudaError::Incomplete { .. } => {
                            "run `make cuda`"
                        }
                        CudaError::NoSuch { .. } | CudaError::Chosen { .. } => {
                            "`nvidia-smi -L` lists them"
                        }
                        _ => "use --device cpu",
                    };
                    Error::input(format!("--device {name}: {error}; {remedy}"))
                })?;
                (device, "cuda")
            }
            (other, _) => {
                let message = format!("--device {other}: give cpu, cuda, or cuda:N for the GPU N");
                return Err(Error::input(message));
            }
        };
        let available = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = threads.unwrap_or(available);
        // A number far above that of the cores is a slip, and the system would refuse the threads one by one.
        let most = available.max(1024);
        let torch_threads = i32::try_from(threads).ok().filter(|_| (1..=most).contains(&threads));
        let Some(torch_threads) = torch_threads else {
            return Err(Error::input(format!(
                "--threads {threads}: give a number from 1 to {most}"
            )));
        };
        check_threads(threads)?;
        tch::set_num_threads(torch_threads);
        // If a pool exists already, this program made it, with the same size.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
        Ok(Self { device, name, threads })
    }

    /// The same, or the processor in the name of a GPU, to put together what was drawn on one: numbers of
    /// samples become metrics on the processor in any case.
    ///
    /// # Errors
    /// As [`Hardware::open`], except that no GPU is asked for.
    pub fn open_to_merge(name: &str, threads: Option<usize>) -> Result<Self> {
        if name == "cuda" || gpu(name).is_some() {
            return Ok(Self { name: "cuda", ..Self::open("cpu", threads)? });
        }
        Self::open(name, threads)
    }

    /// Where tensors go.
    pub fn device(&self) -> Device {
        self.device
    }

    /// `cpu` or `cuda`, whichever GPU it is.
    pub fn name(&self) -> String {
        self.name.to_owned()
    }

    /// What the user should know of a number format before waiting for it; none if all is well.
    pub fn warning(&self, precision: Precision) -> Option<String> {
        let slow = precision == Precision::Bf16 && self.name == "cpu";
        let info = slow.then(|| std::fs::read_to_string("/proc/cpuinfo").ok()).flatten()?;
        without_bf16(&info).then(|| {
            "bf16 is slower than f32 on this processor, which has no instructions for it (none of \
             avx512_bf16, amx_bf16, bf16): use f32"
                .to_owned()
        })
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.threads
    }
}

/// The index in `cuda:1`.
fn gpu(name: &str) -> Option<usize> {
    name.strip_prefix("cuda:")?.parse::<u16>().ok().map(usize::from)
}

/// Threads beside those that compute: they answer signals, move the bar, make batches, run backward.
const OTHERS: usize = 4;

/// Finds out whether the system allows as many threads as will be asked for: LibTorch's library of
/// threads ends the process where one is refused, and says no remedy.
fn check_threads(threads: usize) -> Result<()> {
    // As many for LibTorch as for this program.
    let wanted = 2 * threads + OTHERS;
    let gate = RwLock::new(());
    let (mut started, mut refused) = (0_usize, None);
    thread::scope(|scope| {
        // All at once, or the limit would not be met.
        let closed = gate.write();
        for _ in 0..wanted {
            let wait = || drop(gate.read());
            match thread::Builder::new().stack_size(1 << 16).spawn_scoped(scope, wait) {
                Ok(_) => started += 1,
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        drop(closed);
    });
    let Some(error) = refused else { return Ok(()) };
    Err(too_few(threads, started, &error))
}

/// What to do where only `started` threads can be started beside those that there are.
fn too_few(threads: usize, started: usize, error: &io::Error) -> Error {
    let wanted = 2 * threads + OTHERS;
    let remedy = match started.saturating_sub(OTHERS) / 2 {
        0 => "allow more".to_owned(),
        fewer => format!("give --threads {fewer}, or allow more"),
    };
    Error::Failed(format!(
        "the system starts only {started} more threads ({error}), and --threads {threads} takes {wanted}: \
         {remedy} (`ulimit -u`, or the limit of the container or job)"
    ))
}

/// Whether TF32 may round the inputs of matrix products and convolutions on `cpu` or `cuda`.
pub fn tf32(device: &str) -> bool {
    device != "cpu" && std::env::var("NVIDIA_TF32_OVERRIDE").as_deref() != Ok("0")
}

/// Whether a processor multiplies no bf16 numbers, from the text of `/proc/cpuinfo`: x86 lists `flags`,
/// ARM `Features`. One that lists neither is given the benefit of the doubt.
fn without_bf16(info: &str) -> bool {
    let lists = |line: &&str| line.starts_with("flags") || line.starts_with("Features");
    let line = info.lines().find(lists).and_then(|line| line.split_once(':'));
    line.is_some_and(|(_, features)| {
        let multiplies = ["avx512_bf16", "amx_bf16", "bf16"];
        !features.split_whitespace().any(|feature| multiplies.contains(&feature))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_none_is_refused_and_a_merge_has_its_name_alone() {
        for name in ["gpu", "cuda:", "cuda:-1", "cuda:x", "cuda:70000", "CPU"] {
            let error = Hardware::open(name, Some(1)).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--device {name}: give cpu, cuda")), "{error}");
            assert!(Hardware::open_to_merge(name, Some(1)).is_err());
        }
        let lent = Hardware::open_to_merge("cuda:3", Some(1)).unwrap();
        assert_eq!((lent.name(), lent.device()), ("cuda".to_owned(), Device::Cpu));
        let own = Hardware::open_to_merge("cpu", Some(1)).unwrap();
        assert_eq!((own.name(), own.device()), ("cpu".to_owned(), Device::Cpu));
    }

    #[test]
    fn too_few_threads_are_a_number_that_would_do_or_a_limit_to_raise() {
        let said = |started| {
            let error = too_few(8, started, &io::Error::from_raw_os_error(11));
            assert_eq!(error.exit_code(), 1);
            error.to_string()
        };
        assert!(said(11).contains("takes 20: give --threads 3, or allow more (`ulimit -u`"));
        assert!(said(5).contains("takes 20: allow more (`ulimit -u`"));
        // Here there are enough.
        check_threads(2).unwrap();
    }

    #[test]
    fn a_processor_multiplies_bf16_if_it_lists_an_instruction_for_it() {
        let x86 =
            |flags: &str| format!("processor\t: 0\nmodel name\t: some\nflags\t\t: fpu {flags}\n");
        for with in ["avx512f avx512_bf16 clflush", "amx_bf16 avx512f"] {
            assert!(!without_bf16(&x86(with)), "{with}");
        }
        // Half the words of a feature are not the feature.
        for without in ["avx2", "avx512f avx512_fp16 amx_int8", "avx512_bf16x"] {
            assert!(without_bf16(&x86(without)), "{without}");
        }
        assert!(!without_bf16("processor\t: 0\nFeatures\t: fp asimd bf16 i8mm\n"));
        assert!(without_bf16("processor\t: 0\nFeatures\t: fp asimd asimdhp\n"));
        assert!(!without_bf16("processor\t: 0\n"));
    }
}
