//! Kernels for CUDA, compiled at run time for the GPU that is there.
//!
//! One binary serves machines with and without a GPU: the driver and the compiler (NVRTC, which comes
//! with LibTorch's CUDA libraries) are loaded when a kernel is first wanted.
#![allow(unsafe_code)]

use std::{
    collections::BTreeMap,
    ffi::{CStr, CString, c_char, c_void},
    sync::OnceLock,
};

use cudarc::{
    driver::{result as driver, sys},
    nvrtc::{self, CompileError, CompileOptions},
};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

use crate::backends::cuda;

/// The source of the kernels, which the C++ side includes for the host.
const SOURCE: &str = include_str!("../cpp/kernels.cu");

const NAMES: [&str; 10] = [
    "norm_forward_float",
    "norm_forward_bf16",
    "norm_backward_float",
    "norm_backward_bf16",
    "add_float",
    "add_bf16",
    "interleave_float",
    "interleave_bf16",
    "separate_float",
    "separate_bf16",
];

type Launch =
    unsafe extern "C" fn(*mut c_void, *const c_char, *const c_void, u32, u32, u32) -> *mut c_char;

unsafe extern "C" {
    fn ddim_fused_set_launch(launch: Launch);
    fn ddim_message_new(text: *const c_char) -> *mut c_char;
}

/// Why there are no kernels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The compiler is not there.
    #[error("CUDA's run-time compiler (libnvrtc) cannot be loaded")]
    NoCompiler,
    /// The compiler refused the source, for instance because it does not know the GPU.
    #[error("CUDA's run-time compiler refuses the kernels: {message}")]
    Compiler {
        /// What it said.
        message: String,
    },
    /// The driver refused something.
    #[error("the NVIDIA driver refuses the kernels: {message}")]
    Driver {
        /// What it said.
        message: String,
    },
}

impl From<driver::DriverError> for KernelError {
    fn from(error: driver::DriverError) -> Self {
        Self::Driver { message: error.to_string() }
    }
}

struct Kernels {
    context: sys::CUcontext,
    functions: BTreeMap<&'static str, sys::CUfunction>,
}

// SAFETY: handles of the driver may be used from any thread.
unsafe impl Send for Kernels {}
// SAFETY: as above.
unsafe impl Sync for Kernels {}

static KERNELS: OnceLock<Result<Kernels, KernelError>> = OnceLock::new();

/// Compiles the kernels for the first GPU, once; [`cuda::device`] must have answered with it.
pub(super) fn ready() -> Result<(), KernelError> {
    let done = KERNELS.get_or_init(|| {
        let kernels = compile()?;
        // SAFETY: the function matches the declaration on the other side.
        unsafe { ddim_fused_set_launch(launch) };
        Ok(kernels)
    });
    done.as_ref().map(|_| ()).map_err(Clone::clone)
}

fn compile() -> Result<Kernels, KernelError> {
    load_compiler();
    // SAFETY: it loads a library of CUDA, which touches nothing of this program's.
    if !unsafe { nvrtc::sys::is_culib_present() } {
        return Err(KernelError::NoCompiler);
    }
    let (major, minor) = cuda::capability().ok_or_else(|| KernelError::Driver {
        message: "it does not say what the GPU can do".to_owned(),
    })?;
    let architecture = format!("compute_{major}{minor}");
    let device = driver::device::get(0)?;
    let program = assembled(&architecture)?;
    // SAFETY: the device is one that the driver named. The context is LibTorch's own, and is never
    // released, as the process uses it to its end.
    let context = unsafe { driver::primary_ctx::retain(device) }?;
    let mut kernels = Kernels { context, functions: BTreeMap::new() };
    kernels.enter()?;
    // SAFETY: the program is a string of C, as the driver expects one.
    let module = unsafe { driver::module::load_data(program.as_ptr().cast()) }?;
    for name in NAMES {
        let symbol = CString::new(name).expect("invariant: no name has a zero byte");
        // SAFETY: the module is loaded, and stays so.
        let function = unsafe { driver::module::get_function(module, symbol) }?;
        kernels.functions.insert(name, function);
    }
    Ok(kernels)
}

/// The kernels in the assembly language of GPUs.
fn assembled(architecture: &str) -> Result<CString, KernelError> {
    let options = [format!("--gpu-architecture={architecture}"), "--std=c++17".to_owned()];
    let options = CompileOptions { options: options.into(), ..CompileOptions::default() };
    let program = nvrtc::compile_ptx_with_opts(SOURCE, options).map_err(|error| {
        let message = match error {
            CompileError::CompileError { log, .. } => {
                log.to_string_lossy().lines().next().unwrap_or("no reason given").to_owned()
            }
            other => other.to_string(),
        };
        KernelError::Compiler { message }
    })?;
    let text = program.to_src();
    CString::new(text.trim_end_matches('\0'))
        .map_err(|_| KernelError::Compiler { message: "its output has a zero byte".to_owned() })
}

/// Loads the compiler that came with the CUDA libraries in use, which may be outside the loader's
/// folders, by its path: later requests by name find it.
fn load_compiler() {
    for neighbour in ["libcublas.so", "libcudart.so"] {
        let Some(folder) = cuda::folder_of(neighbour) else { continue };
        // The compiler loads its built-in functions by name, so they come first.
        for library in ["libnvrtc-builtins.so", "libnvrtc.so"] {
            let Ok(entries) = std::fs::read_dir(&folder) else { continue };
            let found = entries.filter_map(|entry| Some(entry.ok()?.path())).find(|path| {
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(library))
            });
            let Some(path) = found else { continue };
            // SAFETY: a library of CUDA, which touches nothing of this program's.
            if let Ok(library) = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_GLOBAL) } {
                // Never unloaded.
                std::mem::forget(library);
            }
        }
    }
}

impl Kernels {
    /// Makes LibTorch's context that of this thread.
    fn enter(&self) -> Result<(), KernelError> {
        // SAFETY: the context is retained for the process.
        Ok(unsafe { driver::ctx::set_current(self.context) }?)
    }

    /// Queues a kernel behind what LibTorch has queued on its current stream.
    ///
    /// # Safety
    /// The stream is one of the driver's; the parameters are those of the kernel, and every address in
    /// them is the GPU's.
    unsafe fn launch(
        &self,
        stream: *mut c_void,
        name: &str,
        parameters: *const c_void,
        blocks: u32,
        threads: u32,
        shared: u32,
    ) -> Result<(), KernelError> {
        let function = self.functions.get(name).copied();
        let function = function.ok_or_else(|| KernelError::Driver {
            message: format!("there is no kernel `{name}`"),
        })?;
        self.enter()?;
        let mut parameters = [parameters.cast_mut()];
        // SAFETY: as the caller promises.
        unsafe {
            driver::launch_kernel(
                function,
                (blocks, 1, 1),
                (threads, 1, 1),
                shared,
                stream.cast(),
                &mut parameters,
            )
        }?;
        Ok(())
    }
}

/// What the C++ side calls.
unsafe extern "C" fn launch(
    stream: *mut c_void,
    name: *const c_char,
    parameters: *const c_void,
    blocks: u32,
    threads: u32,
    shared: u32,
) -> *mut c_char {
    let done = std::panic::catch_unwind(|| {
        // SAFETY: a string of C.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
        match KERNELS.get() {
            // SAFETY: the C++ side fills the parameters from tensors on the GPU.
            Some(Ok(kernels)) => unsafe {
                kernels.launch(stream, &name, parameters, blocks, threads, shared)
            },
            Some(Err(error)) => Err(error.clone()),
            None => Err(KernelError::NoCompiler),
        }
    });
    let message = match done {
        Ok(Ok(())) => return std::ptr::null_mut(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the driver's functions cannot be loaded".to_owned(),
    };
    let message = CString::new(message).unwrap_or_default();
    // SAFETY: a string of C, which is copied.
    unsafe { ddim_message_new(message.as_ptr()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NVRTC needs no GPU, but it is there only with the CUDA libraries.
    #[test]
    fn the_compiler_takes_the_source_where_it_is_installed() {
        load_compiler();
        // SAFETY: it loads a library of CUDA.
        if !unsafe { nvrtc::sys::is_culib_present() } {
            return;
        }
        for architecture in ["compute_75", "compute_80", "compute_90", "compute_100"] {
            let program = assembled(architecture).unwrap();
            for name in NAMES {
                assert!(program.to_string_lossy().contains(&format!(".entry {name}")), "{name}");
            }
        }
    }
}
