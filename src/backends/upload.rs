//! Copies to a GPU for which nothing is waited.
#![allow(unsafe_code)]

use std::{
    ffi::{c_char, c_void},
    ptr::null_mut,
};

use tch::{Device, TchError, Tensor};

use crate::backends::message;

unsafe extern "C" {
    fn ddim_upload(out: *mut *mut c_void, host: *const c_void, device: i8) -> *mut c_char;
}

/// The same values on a device. A GPU goes on with what it was given before.
///
/// # Errors
/// If the device has no room.
pub fn upload(host: &Tensor, device: Device) -> Result<Tensor, TchError> {
    let Device::Cuda(index) = device else { return host.f_to_device(device) };
    let mut out = null_mut();
    // SAFETY: the tensor lives through the call and is only read there; the function makes an
    // `at::Tensor` for its caller, which `Tensor` deletes.
    unsafe {
        let index = i8::try_from(index).unwrap_or(i8::MAX);
        let message = ddim_upload(&raw mut out, host.as_ptr().cast(), index);
        message::take(message).map_err(TchError::Torch)?;
        Ok(Tensor::from_ptr(out.cast()))
    }
}
