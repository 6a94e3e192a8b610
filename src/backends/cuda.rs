//! CUDA on demand: the same binary runs with and without it.
//!
//! The program links only LibTorch's CPU libraries. [`device`] loads `libtorch_cuda.so` at
//! run time, which registers its kernels with the library that is already there. This must
//! happen before LibTorch is first asked about CUDA, because it keeps its first answer; so
//! every such question goes through [`device`].
#![allow(unsafe_code)]

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use cudarc::driver::{
    result as driver,
    sys::{
        self,
        CUdevice_attribute::{
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR,
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
        },
    },
};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use tch::{Cuda, Device};

const CUDA_LIBRARY: &str = "libtorch_cuda.so";

/// Why there is no CUDA device.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CudaError {
    /// No folder holds LibTorch's CUDA library.
    #[error("LibTorch has no CUDA library ({CUDA_LIBRARY} is not in {})", list(searched))]
    NoLibrary {
        /// The folders searched.
        searched: Vec<PathBuf>,
    },
    /// LibTorch's CUDA library is there, but one that it needs is not.
    #[error("the CUDA libraries are incomplete ({message})")]
    Incomplete {
        /// What the loader said.
        message: String,
    },
    /// The machine has no NVIDIA driver.
    #[error("this machine has no NVIDIA driver ({message})")]
    NoDriver {
        /// What the loader said.
        message: String,
    },
    /// There is no GPU of an index.
    #[error("there is no GPU {index}: CUDA_VISIBLE_DEVICES, {visible}, has others")]
    NoSuch {
        /// The index, from 0.
        index: usize,
        /// What the variable says.
        visible: String,
    },
    /// Another GPU is in use already.
    #[error("this process computes on GPU {first}, and on one GPU alone")]
    Chosen {
        /// The index of that one.
        first: usize,
    },
    /// The driver shows no device.
    #[error("the NVIDIA driver shows no GPU that LibTorch can use")]
    NoGpu,
}

fn list(folders: &[PathBuf]) -> String {
    let names: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    if names.is_empty() { "any known folder".into() } else { names.join(", ") }
}

/// The variable by which the driver shows a process some of the machine's GPUs, in an order.
const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";

/// Makes one of the GPUs that this process is shown its only one, which is then its first; `index` counts
/// from 0.
///
/// So everything that means the GPU of this process means the same one: LibTorch, the kernels compiled for
/// it, and recorded calls. The driver reads the variable once, when it is first asked for anything, so this
/// comes before [`device`].
///
/// # Errors
/// An index beyond what the process is shown, or after another one.
pub fn choose(index: usize) -> Result<(), CudaError> {
    static CHOSEN: OnceLock<usize> = OnceLock::new();
    let visible = env::var(VISIBLE).ok();
    match CHOSEN.get() {
        Some(&first) if first == index => return Ok(()),
        Some(&first) => return Err(CudaError::Chosen { first }),
        None => {}
    }
    let name = among(visible.as_deref(), index)?;
    let _ = CHOSEN.set(index);
    // SAFETY: no other thread of this process reads or writes variables now: a device is opened before
    // anything that computes is started.
    unsafe { env::set_var(VISIBLE, name) };
    Ok(())
}

/// The name of a GPU by its index among those that are visible.
fn among(visible: Option<&str>, index: usize) -> Result<String, CudaError> {
    match visible {
        None => Ok(index.to_string()),
        Some(list) => {
            let name = list.split(',').map(str::trim).filter(|name| !name.is_empty()).nth(index);
            let no_such = || CudaError::NoSuch { index, visible: list.to_owned() };
            name.map(str::to_owned).ok_or_else(no_such)
        }
    }
}

/// The first CUDA device, after loading LibTorch's CUDA library if need be.
///
/// # Errors
/// If the CUDA libraries, the driver or the GPU is missing; the error says which.
pub fn device() -> Result<Device, CudaError> {
    static ANSWER: OnceLock<Result<Device, CudaError>> = OnceLock::new();
    ANSWER.get_or_init(find).clone()
}

fn find() -> Result<Device, CudaError> {
    load(&folders())?;
    // Only after loading, because LibTorch keeps its first answer.
    if Cuda::is_available() {
        return Ok(Device::Cuda(0));
    }
    // SAFETY: the driver's library has no initialisers that touch this program's state.
    match unsafe { Library::open(Some("libcuda.so.1"), RTLD_NOW) } {
        Err(error) => Err(CudaError::NoDriver { message: reason(&error) }),
        Ok(_) => Err(CudaError::NoGpu),
    }
}

/// The compute capability of the first CUDA device, `(9, 0)` for instance; none if the driver does not say.
pub fn capability() -> Option<(i32, i32)> {
    // SAFETY: it loads the driver's library, whose initialisers touch none of this program's state.
    if !unsafe { sys::is_culib_present() } {
        return None;
    }
    driver::init().ok()?;
    let device = driver::device::get(0).ok()?;
    // SAFETY: the device is one that the driver named.
    let attribute = |which| unsafe { driver::device::get_attribute(device, which) }.ok();
    Some((attribute(MAJOR)?, attribute(MINOR)?))
}

/// The same as compilers call it, `sm_90` for instance.
pub fn architecture() -> Option<String> {
    capability().map(|(major, minor)| format!("sm_{major}{minor}"))
}

/// Loads the CUDA library of the first folder that has one, for the rest of the process.
fn load(folders: &[PathBuf]) -> Result<(), CudaError> {
    let Some(path) = folders.iter().map(|f| f.join(CUDA_LIBRARY)).find(|path| path.exists()) else {
        return Err(CudaError::NoLibrary { searched: folders.to_vec() });
    };
    // SAFETY: it is the CUDA half of the LibTorch already loaded; its initialisers register
    // kernels with that half. Global, so that its symbols meet those of the CPU library.
    match unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_GLOBAL) } {
        Ok(library) => {
            // Never unloaded: the registered kernels point into it.
            std::mem::forget(library);
            Ok(())
        }
        Err(error) => Err(CudaError::Incomplete { message: reason(&error) }),
    }
}

/// What the loader said, without the wording of `libloading` around it.
fn reason(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// Where LibTorch's CUDA library may be: next to the CPU library in use, then where it was set up.
fn folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    folders.extend(folder_of("libtorch_cpu.so"));
    let homes = env::var_os("LIBTORCH").map(PathBuf::from).into_iter();
    for home in homes.chain([PathBuf::from(".libtorch")]) {
        folders.extend([home.join("runtime"), home.join("lib")]);
    }
    let mut known: Vec<PathBuf> = Vec::new();
    for folder in folders.iter().filter_map(|folder| folder.canonicalize().ok()) {
        if !known.contains(&folder) {
            known.push(folder);
        }
    }
    known
}

/// The folder that a library of this process was loaded from.
pub(super) fn folder_of(library: &str) -> Option<PathBuf> {
    folder_in_maps(&std::fs::read_to_string("/proc/self/maps").ok()?, library)
}

/// The same, from the text of `/proc/self/maps`: six columns, the last is the path.
fn folder_in_maps(maps: &str, library: &str) -> Option<PathBuf> {
    let named = |name: &OsStr| {
        // `libcudart.so.13` as well, whatever its version.
        let name = name.to_string_lossy();
        name.strip_prefix(library).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    maps.lines()
        .filter_map(|line| line.find('/').map(|start| Path::new(&line[start..])))
        .find(|path| path.file_name().is_some_and(named))
        .and_then(Path::parent)
        .map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_library_is_read_from_the_memory_map() {
        let maps = "7f00-7f01 r-xp 00000000 08:01 12   /opt/some where/lib/libtorch_cpu.so\n\
                    7f02-7f03 rw-p 00000000 00:00 0\n\
                    7f04-7f05 r-xp 00000000 08:01 13   /usr/lib/libc.so.6\n";
        let folder = folder_in_maps(maps, "libtorch_cpu.so");
        assert_eq!(folder_in_maps(maps, "libc.so").as_deref(), Some(Path::new("/usr/lib")));
        assert_eq!(folder.as_deref(), Some(Path::new("/opt/some where/lib")));
        assert_eq!(folder_in_maps(maps, "libtorch_cuda.so"), None);
    }

    #[test]
    fn a_gpu_is_counted_among_those_that_are_visible() {
        assert_eq!(among(None, 3).unwrap(), "3");
        assert_eq!(among(Some("5, GPU-8a1b"), 1).unwrap(), "GPU-8a1b");
        let error = among(Some("5,7"), 2).unwrap_err().to_string();
        assert_eq!(error, "there is no GPU 2: CUDA_VISIBLE_DEVICES, 5,7, has others");
        assert!(among(Some(""), 0).is_err());
    }

    #[test]
    fn a_library_that_is_nowhere_is_answered_with_the_folders_searched() {
        let folder = tempfile::tempdir().unwrap();
        let error = load(&[folder.path().to_owned()]).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "LibTorch has no CUDA library (libtorch_cuda.so is not in {})",
                folder.path().display()
            )
        );
    }

    #[test]
    fn a_library_that_does_not_load_is_answered_with_the_loaders_reason() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(CUDA_LIBRARY), b"no library").unwrap();
        let error = load(&[folder.path().to_owned()]).unwrap_err();
        assert!(matches!(error, CudaError::Incomplete { .. }), "{error}");
        assert!(error.to_string().contains("libtorch_cuda.so"), "{error}");
    }
}
