//! Operations of a UNet that make one pass over channels-last activations where LibTorch makes several.
//!
//! LibTorch's group normalisation on CUDA works on channels-first memory: around each one it copies
//! the activations twice, and SiLU, a bias and a residual are a pass each. Here normalisation, SiLU
//! and dropout are one kernel, which reads its input from the cache the second time, and so is its
//! gradient. On the CPU the same kernels run as plain C++: for tests alone, since they are slow there.
#![allow(unsafe_code)]

mod launch;

use std::{
    ffi::{c_char, c_void},
    ptr::{null, null_mut},
};

use tch::{Kind, TchError, Tensor};

pub use self::launch::KernelError;
use crate::backends::message;

unsafe extern "C" {
    fn ddim_fused_norm(
        out: *mut *mut c_void,
        first: *const c_void,
        second: *const c_void,
        added: *const c_void,
        weight: *const c_void,
        bias: *const c_void,
        groups: i64,
        eps: f64,
        silu: bool,
        keys: *const c_void,
        threshold: u32,
        factor: f64,
    ) -> *mut c_char;
    fn ddim_fused_add(
        out: *mut *mut c_void,
        x: *const c_void,
        bias: *const c_void,
        first: *const c_void,
        second: *const c_void,
    ) -> *mut c_char;
    fn ddim_fused_interleave(
        out: *mut *mut c_void,
        phases: *const c_void,
        bias: *const c_void,
    ) -> *mut c_char;
    safe fn ddim_fused_fits(channels: i64, groups: i64, lanes: i64) -> bool;
}

/// Compiles the kernels for the GPU of [`cuda::device`](crate::backends::cuda::device), once.
///
/// # Errors
/// When its compiler or its driver refuses.
pub fn ready() -> Result<(), KernelError> {
    launch::ready()
}

/// Whether the kernels can normalise that many channels in that many groups: some part of them holds
/// whole groups and whole words of 16 bytes.
pub fn fits(channels: i64, groups: i64, kind: Kind) -> bool {
    let lanes = match kind {
        Kind::Float => 4,
        Kind::BFloat16 => 8,
        _ => return false,
    };
    ddim_fused_fits(channels, groups, lanes)
}

/// A group normalisation and what follows it.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// `[C]`, of the type of the images.
    pub weight: &'a Tensor,
    /// `[C]`, likewise.
    pub bias: &'a Tensor,
    /// The number of groups.
    pub groups: i64,
    /// What is added to the variance.
    pub eps: f64,
    /// Whether $z\,\sigma(z)$ follows.
    pub silu: bool,
}

/// Dropout that is a function of keys and places.
#[derive(Debug)]
pub struct Dropped {
    /// The bits of each image's key, int32 `[N]`.
    pub keys: Tensor,
    /// A value is dropped if the hash of key and place lies below.
    pub threshold: u32,
    /// What kept values are multiplied by.
    pub factor: f64,
}

fn pointer(tensor: Option<&Tensor>) -> *const c_void {
    tensor.map_or(null(), |tensor| tensor.as_ptr().cast())
}

/// What the C++ side said.
///
/// # Safety
/// As [`message::take`].
unsafe fn taken(message: *mut c_char) -> Result<(), TchError> {
    // SAFETY: as the caller promises.
    unsafe { message::take(message) }.map_err(TchError::Torch)
}

/// $\mathrm{dropout}(\mathrm{SiLU}(w\,(x + a - \mu)/\sqrt{v + \varepsilon} + b))$ with mean and variance over each
/// image's group of channels.
///
/// - Shape: x `[N, C, H, W]`, in f32 or bf16, best channels-last, maybe in two parts side by side along C;
///   a `[N, C]` or `[1, C]`; result `[N, C, H, W]` channels-last.
/// - It is differentiable in x, a, w and b.
///
/// # Errors
/// When shapes or types are others, or the device has no room.
pub fn norm(
    (first, second): (&Tensor, Option<&Tensor>),
    added: Option<&Tensor>,
    norm: &Norm<'_>,
    dropped: Option<&Dropped>,
) -> Result<Tensor, TchError> {
    let mut out = null_mut();
    let keys = dropped.map(|dropped| &dropped.keys);
    // SAFETY: all pointers are null or an `at::Tensor*` that lives through the call, only read there;
    // the function writes one pointer.
    unsafe {
        taken(ddim_fused_norm(
            &raw mut out,
            first.as_ptr().cast(),
            pointer(second),
            pointer(added),
            norm.weight.as_ptr().cast(),
            norm.bias.as_ptr().cast(),
            norm.groups,
            norm.eps,
            norm.silu,
            pointer(keys),
            dropped.map_or(0, |dropped| dropped.threshold),
            dropped.map_or(1.0, |dropped| dropped.factor),
        ))?;
        // The function made an `at::Tensor` for its caller, which `Tensor` deletes.
        Ok(Tensor::from_ptr(out.cast()))
    }
}

/// $x + b + y + z$, rounded once, in the memory of x, which nothing may need for its own gradient.
///
/// - Shape: x, y and z `[N, C, H, W]`, best channels-last; b `[C]`.
///
/// # Errors
/// When shapes or types are others.
#[allow(clippy::needless_pass_by_value)] // its memory becomes the result's
pub fn add(
    x: Tensor,
    bias: Option<&Tensor>,
    (first, second): (Option<&Tensor>, Option<&Tensor>),
) -> Result<Tensor, TchError> {
    let mut out = null_mut();
    // SAFETY: as in `norm`; x is written, which is this function's own handle.
    unsafe {
        taken(ddim_fused_add(
            &raw mut out,
            x.as_ptr().cast(),
            pointer(bias),
            pointer(first),
            pointer(second),
        ))?;
        Ok(Tensor::from_ptr(out.cast()))
    }
}

/// The four outputs of each pixel `[N, 4 C, H + 1, W + 1]` where they belong, `[N, C, 2 H, 2 W]`, plus a
/// bias `[C]`.
///
/// # Errors
/// When shapes or types are others, or the device has no room.
pub fn interleave(phases: &Tensor, bias: Option<&Tensor>) -> Result<Tensor, TchError> {
    let mut out = null_mut();
    // SAFETY: as in `norm`.
    unsafe {
        taken(ddim_fused_interleave(&raw mut out, phases.as_ptr().cast(), pointer(bias)))?;
        Ok(Tensor::from_ptr(out.cast()))
    }
}
