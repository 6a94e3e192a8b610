//! What went wrong in this crate's C++, as text.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char};

unsafe extern "C" {
    fn ddim_message_free(message: *mut c_char);
}

/// The first line of a message that a C++ function returned, which is freed; none for success.
///
/// # Safety
/// `message` is null or a string of `guarded.h`, and is not used again.
pub(super) unsafe fn take(message: *mut c_char) -> Result<(), String> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: as the caller promises.
    let text = unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned();
    // SAFETY: as the caller promises.
    unsafe { ddim_message_free(message) };
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    Err(line.trim().to_owned())
}
