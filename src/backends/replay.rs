//! Work on a GPU that is recorded once and replayed: a CUDA graph.
//!
//! A step of a thousand small operations waits for the processor, which queues them one by one.
//! Recorded, they are queued as one. The replay reads the inputs where the recording did and does the
//! same operations, so its results are the same to the last bit.
#![allow(unsafe_code)]

use std::{
    ffi::{c_char, c_void},
    ptr::{NonNull, null_mut},
};

use tch::{TchError, Tensor};

use crate::backends::message;

type Callback = unsafe extern "C" fn(*mut c_void) -> *mut c_char;

unsafe extern "C" {
    fn ddim_message_new(text: *const c_char) -> *mut c_char;
    fn ddim_graph_capture(
        graph: *mut *mut c_void,
        work: Callback,
        context: *mut c_void,
    ) -> *mut c_char;
    fn ddim_graph_replay(graph: *mut c_void) -> *mut c_char;
    fn ddim_graph_free(graph: *mut c_void) -> *mut c_char;
}

/// A recording, with the tensors that it reads and writes.
#[derive(Debug)]
struct Graph {
    handle: NonNull<c_void>,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
}

// SAFETY: a graph has no tie to the thread that made it.
unsafe impl Send for Graph {}

/// What is recorded: a function of tensors with K results.
pub type Work<'a, const K: usize, E> = dyn Fn(&[Tensor]) -> Result<[Tensor; K], E> + 'a;

/// Work and its results, as the recording calls it.
struct Recorded<'a, const K: usize, E> {
    work: &'a Work<'a, K, E>,
    inputs: &'a [Tensor],
    outputs: Option<Result<[Tensor; K], E>>,
}

unsafe extern "C" fn perform<const K: usize, E>(context: *mut c_void) -> *mut c_char {
    // SAFETY: `Graph::capture` gives the address of such a value, which lives through the call.
    let recorded = unsafe { &mut *context.cast::<Recorded<'_, K, E>>() };
    let (work, inputs) = (recorded.work, recorded.inputs);
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(inputs)));
    let failed = !matches!(done, Ok(Ok(_)));
    recorded.outputs = done.ok();
    if failed {
        // SAFETY: a string of C, which is copied.
        return unsafe { ddim_message_new(c"the work failed".as_ptr()) };
    }
    null_mut()
}

impl Graph {
    /// Does the work twice, recording the second time.
    fn capture<const K: usize, E>(
        inputs: &[Tensor],
        work: &Work<'_, K, E>,
    ) -> Result<Self, TchError> {
        let inputs: Vec<Tensor> =
            inputs.iter().map(Tensor::f_detach_copy).collect::<Result<_, _>>()?;
        let mut recorded = Recorded { work, inputs: &inputs, outputs: None };
        let mut handle = null_mut();
        // SAFETY: `perform` takes what is given to it here, which lives through the call.
        unsafe {
            let context = (&raw mut recorded).cast();
            let message = ddim_graph_capture(&raw mut handle, perform::<K, E>, context);
            message::take(message).map_err(TchError::Torch)?;
        }
        let outputs = recorded.outputs.and_then(Result::ok);
        let (Some(handle), Some(outputs)) = (NonNull::new(handle), outputs) else {
            return Err(TchError::Torch("nothing was recorded".to_owned()));
        };
        Ok(Self { handle, inputs, outputs: outputs.into() })
    }

    fn replay<const K: usize>(&mut self, inputs: &[Tensor]) -> Result<[Tensor; K], TchError> {
        for (own, given) in self.inputs.iter_mut().zip(inputs) {
            own.f_copy_(given)?;
        }
        // SAFETY: made by `ddim_graph_capture`.
        unsafe { message::take(ddim_graph_replay(self.handle.as_ptr())) }
            .map_err(TchError::Torch)?;
        // The next replay writes to the same memory.
        let outputs = self.outputs.iter().map(Tensor::f_detach_copy);
        let outputs = outputs.collect::<Result<Vec<_>, _>>()?;
        outputs.try_into().map_err(|outputs: Vec<Tensor>| {
            TchError::Shape(format!("{} results were recorded, not {K}", outputs.len()))
        })
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        self.outputs.clear();
        // SAFETY: made by `ddim_graph_capture`, and not used again.
        let _ = unsafe { message::take(ddim_graph_free(self.handle.as_ptr())) };
    }
}

/// Calls of the same shape before one is recorded: shapes that occur once or twice are not worth it.
const CALLS: u32 = 2;

/// Recordings of one piece of work, by the shapes of its inputs.
#[derive(Debug, Default)]
pub struct Replays {
    known: Vec<Known>,
    /// Why a recording failed: the work is done without from then on.
    failed: Option<TchError>,
}

#[derive(Debug)]
struct Known {
    shapes: Vec<Vec<i64>>,
    calls: u32,
    graph: Option<Graph>,
}

/// Recordings kept, of the shapes that came last; each has memory of its own.
const MOST: usize = 3;

impl Replays {
    /// Does the work on inputs that are on a GPU: as it is at first, then by recording and replaying it.
    ///
    /// The work must depend on its inputs alone, and on memory that stays where it is; it must not
    /// wait for the GPU or copy from the host.
    ///
    /// # Errors
    /// Whatever the work returns, and what LibTorch refuses.
    pub fn run<const K: usize, E: From<TchError>>(
        &mut self,
        inputs: &[Tensor],
        work: &Work<'_, K, E>,
    ) -> Result<[Tensor; K], E> {
        if self.failed.is_some() {
            return work(inputs);
        }
        let shapes: Vec<Vec<i64>> = inputs.iter().map(Tensor::size).collect();
        let at = self.known.iter().position(|known| known.shapes == shapes);
        let mut known = match at {
            Some(at) => self.known.remove(at),
            None => Known { shapes, calls: 0, graph: None },
        };
        let done = known.run(inputs, work, &mut self.failed);
        self.known.truncate(MOST - 1);
        self.known.insert(0, known);
        if self.failed.is_some() {
            self.known.clear();
        }
        done
    }

    /// Why a recording failed, if one did.
    pub fn failed(&self) -> Option<&TchError> {
        self.failed.as_ref()
    }

    /// Forgets all recordings: memory that the work reads has moved.
    pub fn clear(&mut self) {
        self.known.clear();
    }
}

impl Known {
    fn run<const K: usize, E: From<TchError>>(
        &mut self,
        inputs: &[Tensor],
        work: &Work<'_, K, E>,
        failed: &mut Option<TchError>,
    ) -> Result<[Tensor; K], E> {
        self.calls = self.calls.saturating_add(1);
        if self.calls <= CALLS {
            return work(inputs);
        }
        if self.graph.is_none() {
            match Graph::capture(inputs, work) {
                Ok(graph) => self.graph = Some(graph),
                Err(error) => *failed = Some(error),
            }
        }
        match &mut self.graph {
            Some(graph) => Ok(graph.replay(inputs)?),
            None => work(inputs),
        }
    }
}
