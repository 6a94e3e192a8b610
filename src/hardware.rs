//! The device a run computes on, and its threads.

use tch::Device;

use crate::backends::cuda::{self, CudaError};
use crate::error::{Error, Result};

/// A device that works.
#[derive(Clone, Debug)]
pub struct Hardware {
    device: Device,
    threads: usize,
}

impl Hardware {
    /// Opens `cpu` or `cuda`, and sets the number of threads of LibTorch and of this program.
    ///
    /// # Errors
    /// If something is missing for CUDA, or the number of threads is out of range.
    pub fn open(name: &str, threads: Option<usize>) -> Result<Self> {
        let device = match name {
            "cpu" => Device::Cpu,
            "cuda" => cuda::device().map_err(|error| {
                let remedy = match error {
                    CudaError::NoLibrary { .. } | CudaError::Incomplete { .. } => "run `make cuda`",
                    _ => "use --device cpu",
                };
                Error::input(format!("--device cuda: {error}; {remedy}"))
            })?,
            other => {
                return Err(Error::input(format!("--device {other}: give cpu or cuda")));
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
        tch::set_num_threads(torch_threads);
        // If a pool exists already, this program made it, with the same size.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
        Ok(Self { device, threads })
    }

    /// Where tensors go.
    pub fn device(&self) -> Device {
        self.device
    }

    /// `cpu` or `cuda`.
    pub fn name(&self) -> String {
        match self.device {
            Device::Cpu => "cpu".to_owned(),
            _ => "cuda".to_owned(),
        }
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.threads
    }
}
