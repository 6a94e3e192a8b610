//! AOTInductor packages: native code that PyTorch compiled from a network, run by LibTorch's own loader.
//!
//! Opening one unpacks it into a temporary folder and loads a shared library from there: it is a
//! program, and what it does beside computing is up to who wrote it. The C++ half is `cpp/package.cpp`.
#![allow(unsafe_code)]

use std::{
    ffi::{CString, c_char, c_void},
    os::unix::ffi::OsStrExt,
    path::Path,
    ptr::{NonNull, null_mut},
    sync::Mutex,
};

use tch::{Device, Tensor};

use crate::backends::message;

unsafe extern "C" {
    fn ddim_package_open(path: *const c_char, device: i8, package: *mut *mut c_void)
    -> *mut c_char;
    fn ddim_package_run(
        package: *mut c_void,
        images: *const c_void,
        timesteps: *const c_void,
        out: *mut *mut c_void,
    ) -> *mut c_char;
    fn ddim_package_close(package: *mut c_void) -> *mut c_char;
}

/// What LibTorch said, without the C++ stack that follows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PackageError(String);

/// A loaded package.
#[derive(Debug)]
pub struct Package {
    /// The loader; one run at a time.
    loader: Mutex<NonNull<c_void>>,
}

// SAFETY: the loader has no tie to the thread that made it, and only one thread at a time uses it.
unsafe impl Send for Package {}
// SAFETY: as above; the mutex is the only way to it.
unsafe impl Sync for Package {}

impl Package {
    /// Unpacks a package and loads its code, for the CPU or for a CUDA device.
    ///
    /// # Errors
    /// When LibTorch cannot load it.
    pub fn open(path: &Path, device: Device) -> Result<Self, PackageError> {
        let path = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| PackageError("its path has a zero byte".to_owned()))?;
        let index = match device {
            Device::Cuda(index) => i8::try_from(index)
                .map_err(|_| PackageError(format!("there is no CUDA device {index}")))?,
            _ => -1,
        };
        let mut loader = null_mut();
        // SAFETY: the path is a string of C, and the function writes one pointer.
        unsafe { taken(ddim_package_open(path.as_ptr(), index, &raw mut loader)) }?;
        let loader =
            NonNull::new(loader).ok_or_else(|| PackageError("it has no code".to_owned()))?;
        Ok(Self { loader: Mutex::new(loader) })
    }

    /// Runs the code on images and timesteps, without keeping track of gradients.
    ///
    /// # Errors
    /// When the code fails or returns anything but one tensor.
    pub fn run(&self, images: &Tensor, timesteps: &Tensor) -> Result<Tensor, PackageError> {
        let loader = self.loader.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut out = null_mut();
        // SAFETY: both sides of a tensor of tch are an `at::Tensor*`, only read here; the loader is
        // one that `ddim_package_open` made, and the function writes one pointer.
        unsafe {
            taken(ddim_package_run(
                loader.as_ptr(),
                images.as_ptr().cast(),
                timesteps.as_ptr().cast(),
                &raw mut out,
            ))
        }?;
        // SAFETY: the function made an `at::Tensor` for its caller, which `Tensor` deletes.
        Ok(unsafe { Tensor::from_ptr(out.cast()) })
    }
}

impl Drop for Package {
    fn drop(&mut self) {
        let loader = self.loader.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        // What cannot be removed stays in the folder for temporary files.
        // SAFETY: made by `ddim_package_open`, and not used again.
        let _ = unsafe { taken(ddim_package_close(loader.as_ptr())) };
    }
}

/// What the C++ side said.
///
/// # Safety
/// As [`message::take`].
unsafe fn taken(message: *mut c_char) -> Result<(), PackageError> {
    // SAFETY: as the caller promises.
    unsafe { message::take(message) }.map_err(PackageError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_of_the_loader_becomes_an_error_with_its_message() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.pt2");
        std::fs::write(&path, b"no package").unwrap();
        let error = Package::open(&path, Device::Cpu).unwrap_err().to_string();
        assert!(!error.is_empty() && !error.contains('\n'), "{error}");
        assert!(Package::open(Path::new("a\0b"), Device::Cpu).is_err());
    }
}
