//! Ctrl-C (SIGINT) and SIGTERM: the first one asks the work to stop, the second one ends the program.
//!
//! What is finished is on disk by then, and every file appears whole or not at all. So the program may
//! be left at any moment, and is left by `_exit`: LibTorch must not be taken down while a thread of
//! its own still runs.
//!
//! A model can be a program of the user's that never returns. It is left after a while; everything
//! else ends by itself.

use std::{
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
    iterator::Signals,
    low_level,
};

use crate::data::atomic;

/// Set by the first signal.
pub static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// The number of the signal, 0 before there is one.
static SIGNAL: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

/// How long a model is waited for that has not returned; longer if it was seen to take longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many times its longest step a model may take.
const SLOWER: u32 = 5;

const LOOK: Duration = Duration::from_millis(20);

/// Answers signals from here on; `told` is what the first one is answered with.
pub fn watch(told: &'static str) {
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else { return };
    let thread = thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let Some(signal) = signals.forever().next() else { return };
        eprintln!("{}: {told}; once more leaves at once", name(signal));
        loop {
            thread::sleep(LOOK);
            if signals.pending().next().is_some() {
                leave(signal);
            }
            if let Some(waited) = CALLS.lock().unwrap_or_else(PoisonError::into_inner).overdue() {
                let seconds = waited.as_secs();
                eprintln!("the model has not returned for {seconds} s and is not waited for");
                leave(signal);
            }
        }
    });
    for signal in [SIGINT, SIGTERM] {
        if thread.is_err() {
            // Nothing can be said or tidied up from a handler. Before the flag, which it reads.
            let flag = Arc::clone(&INTERRUPTED);
            let _ = flag::register_conditional_shutdown(signal, 128 + signal, flag);
        }
        let number = signal.unsigned_abs() as usize;
        let _ = flag::register_usize(signal, Arc::clone(&SIGNAL), number);
        let _ = flag::register(signal, Arc::clone(&INTERRUPTED));
    }
}

fn leave(signal: i32) -> ! {
    atomic::remove_unfinished();
    low_level::exit(128 + signal)
}

fn name(signal: i32) -> &'static str {
    if signal == SIGTERM { "SIGTERM" } else { "interrupted" }
}

/// Whether the work was asked to stop.
pub fn is_asked() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// The exit code of a program that was interrupted: 130 by SIGINT, 143 by SIGTERM.
pub fn exit_code() -> u8 {
    let signal = SIGNAL.load(Ordering::Relaxed);
    u8::try_from(128 + signal).ok().filter(|_| signal > 0).unwrap_or(130)
}

static CALLS: Mutex<Calls> = Mutex::new(Calls { since: None, longest: Duration::ZERO });

/// The model's calls, as far as an interruption needs to know them.
#[derive(Debug)]
struct Calls {
    /// When the work that is waited for began; none outside of a model.
    since: Option<Instant>,
    longest: Duration,
}

impl Calls {
    /// How long has been waited, if that is too long.
    fn overdue(&self) -> Option<Duration> {
        let waited = self.since?.elapsed();
        (waited > PATIENCE.max(SLOWER * self.longest)).then_some(waited)
    }
}

/// Work of a model that is going on.
#[derive(Debug)]
pub struct Calling(());

impl Calling {
    /// Begins it.
    pub fn begin() -> Self {
        CALLS.lock().unwrap_or_else(PoisonError::into_inner).since = Some(Instant::now());
        Self(())
    }

    /// Says that the model returned, and may be asked again.
    pub fn returned(&self) {
        let mut calls = CALLS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = calls.since.replace(Instant::now()) {
            calls.longest = calls.longest.max(since.elapsed());
        }
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        CALLS.lock().unwrap_or_else(PoisonError::into_inner).since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_waited_for_as_long_as_it_was_seen_to_take() {
        let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds));
        let overdue = |since, longest| {
            let calls = Calls { since, longest: Duration::from_secs(longest) };
            calls.overdue().is_some()
        };
        assert!(!overdue(None, 0));
        assert!(!overdue(ago(9), 0));
        assert!(overdue(ago(11), 0));
        assert!(!overdue(ago(11), 3));
        assert!(overdue(ago(16), 3));
    }
}
