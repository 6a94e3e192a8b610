//! Errors of the numerical core.

use crate::core::Level;

/// Shorthand for results of the numerical core.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong between a schedule and a sample.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The parameters of a schedule do not describe a noise axis.
    #[error("schedule: {0}")]
    Schedule(String),

    /// The requested levels do not form a grid.
    #[error("grid: {0}")]
    Grid(String),

    /// A list of timesteps of another length than the S beside it.
    #[error("S = {steps}, but tau lists {listed} timesteps")]
    TauLength {
        /// S.
        steps: usize,
        /// Timesteps in the list.
        listed: usize,
    },

    /// A timestep outside the schedule.
    #[error("t = {t} is outside the schedule: timesteps run from -1 (clean) to {last}")]
    Timestep {
        /// The timestep asked for.
        t: f64,
        /// The largest timestep of the schedule.
        last: usize,
    },

    /// An eta that makes `1 - alpha_bar_to - s^2` negative.
    #[error(
        "eta = {eta} is too large: the step from t = {} to t = {} allows {largest:.6} at most",
        .from.t, .to.t
    )]
    EtaTooLarge {
        /// The eta asked for.
        eta: f64,
        /// The largest one that leaves a real direction towards x_t.
        largest: f64,
        /// Start of the step.
        from: Level,
        /// End of the step.
        to: Level,
    },

    /// An eta below zero or not a number.
    #[error("eta = {eta}: eta must be finite and at least 0")]
    EtaNegative {
        /// The eta asked for.
        eta: f64,
    },

    /// A stochastic method on a reversed grid.
    #[error("{solver} adds noise and cannot run from clean to noisy")]
    StochasticReversed {
        /// The method.
        solver: &'static str,
    },

    /// A step that is more than one model call, or draws noise, by a convention of inversion that
    /// allows neither.
    #[error(
        "{solver}: the next and the fixed-point convention can only invert steps of one model call \
         without noise"
    )]
    NotOneCall {
        /// The method.
        solver: &'static str,
    },

    /// A method that divides by the sigma it starts from, at sigma = 0.
    #[error(
        "{solver} divides by the sigma it starts from and cannot start at the clean end, where sigma = 0"
    )]
    CleanStart {
        /// The method.
        solver: &'static str,
    },

    /// Two vectors with no arc between them, or a position outside the arc.
    #[error("slerp: {0}")]
    Slerp(String),

    /// A setting that a method does not accept.
    #[error("{solver}: {problem}")]
    Setting {
        /// The method.
        solver: &'static str,
        /// What was set, and what can be.
        problem: String,
    },

    /// An adaptive method whose internal steps became too short to move.
    #[error(
        "{solver} cannot reach rtol = {rtol:e}, atol = {atol:e} at sigma = {sigma}: the steps needed there are too small for f64"
    )]
    Tolerance {
        /// The method.
        solver: &'static str,
        /// The relative tolerance asked for.
        rtol: f64,
        /// The absolute tolerance asked for.
        atol: f64,
        /// Where it stopped.
        sigma: f64,
    },

    /// An adaptive method that takes internal steps without end.
    #[error(
        "{solver} took {most} internal steps from t = {} to t = {} and stands at sigma = {sigma}, held up by \
         sample {sample} (counted from 0): rtol = {rtol:e} and atol = {atol:e} are too small for this model, or \
         it answers the same question differently each time",
        .from.t, .to.t
    )]
    Unending {
        /// The method.
        solver: &'static str,
        /// How many internal steps of one step of the grid are allowed.
        most: usize,
        /// Start of the step of the grid.
        from: Level,
        /// End of the step of the grid.
        to: Level,
        /// Where it stopped.
        sigma: f64,
        /// The sample whose error was the largest.
        sample: u64,
        /// The relative tolerance asked for.
        rtol: f64,
        /// The absolute tolerance asked for.
        atol: f64,
    },

    /// A learned variance, for a method that cannot use one.
    #[error(
        "{solver} cannot use a learned variance, because the mean of its steps depends on the variance"
    )]
    LearnedVariance {
        /// The method.
        solver: &'static str,
    },

    /// A learned variance of a model without one.
    #[error(
        "a learned variance needs a model that also predicts the range of its variance, in twice as many \
         output channels, but this one predicts only eps"
    )]
    NoRange,

    /// A likelihood that does not exist.
    #[error("likelihood: {0}")]
    Likelihood(String),

    /// A model whose eps is not defined where it was asked.
    #[error("{model} has no eps at the clean end, where sigma = 0")]
    NoEpsAtClean {
        /// The model or adapter.
        model: &'static str,
    },

    /// A model of eps where there is no signal.
    #[error(
        "eps says nothing about x0 at the last level of this schedule, where alpha_bar = 0 (zero \
         terminal SNR)"
    )]
    NoX0,

    /// A method that steps in sigma, from where sigma is infinite.
    #[error(
        "{solver} steps in sigma, which is infinite at the last level of this schedule (alpha_bar = 0, \
         zero terminal SNR)"
    )]
    InfiniteSigma {
        /// The method.
        solver: &'static str,
    },

    /// The state became NaN or infinite.
    #[error(
        "{solver} diverged at step {index}, from t = {} to t = {}: in sample {sample} (counted from 0) \
         {what} is not finite",
        .from.t, .to.t
    )]
    NotFinite {
        /// The method.
        solver: &'static str,
        /// Position of the step in the grid, from 0.
        index: usize,
        /// Start of the step.
        from: Level,
        /// End of the step.
        to: Level,
        /// The first sample with such a value.
        sample: u64,
        /// What holds it first: the model's output at the start of the step, or the state after it.
        what: &'static str,
    },

    /// A state that fits into f64 but not into f32.
    #[error("sample {sample} (counted from 0) diverged: its value {value:e} does not fit into f32")]
    BeyondF32 {
        /// The sample.
        sample: u64,
        /// Its largest value.
        value: f64,
    },

    /// The model or the tensor library failed.
    #[error("model: {0}")]
    Model(#[source] Box<dyn std::error::Error + Send + Sync>),

    /// The model or the tensor library had no memory for what it was asked.
    #[error("out of memory ({0})")]
    OutOfMemory(String),

    /// An observer asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// Wraps an error of a model or a tensor library; one that says that memory ran out becomes
    /// [`Error::OutOfMemory`].
    pub fn model(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let source = source.into();
        out_of_memory(&*source).map_or(Self::Model(source), Self::OutOfMemory)
    }
}

/// What LibTorch, CUDA and the C++ library say when there is no memory.
const NO_MEMORY: [&str; 8] = [
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUDA driver error: out of memory",
    "CUDA_ERROR_OUT_OF_MEMORY",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "DefaultCPUAllocator: ",
    "std::bad_alloc",
];

/// What an error, or one behind it, says about memory that ran out; none of any other error.
pub(crate) fn out_of_memory(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    std::iter::successors(Some(error), |error| error.source()).find_map(|error| {
        let text = error.to_string();
        text.lines().find_map(|line| {
            let start = NO_MEMORY.iter().filter_map(|words| line.find(words)).min()?;
            Some(line[start..].trim_end().to_owned())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("LibTorch: the first line alone")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn memory_that_ran_out_is_found_by_what_libtorch_says() {
        for (text, said) in [
            (
                "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has\nException raised from malloc",
                "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has",
            ),
            (
                "The following operation failed in the TorchScript interpreter.\nTraceback\n\
                 RuntimeError: CUDA error: out of memory\n",
                "CUDA error: out of memory",
            ),
            (
                "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate \
                 memory: you tried to allocate 64 bytes. Error code 12 (Cannot allocate memory)",
                "DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 bytes. Error \
                 code 12 (Cannot allocate memory)",
            ),
            (
                "DefaultCPUAllocator: not enough memory: you tried",
                "DefaultCPUAllocator: not enough memory: you tried",
            ),
            ("std::bad_alloc", "std::bad_alloc"),
        ] {
            let behind = Outer(std::io::Error::other(text));
            for error in [Error::model(text), Error::model(behind)] {
                let Error::OutOfMemory(found) = &error else { panic!("{error}") };
                assert_eq!(found, said);
            }
        }
        for other in ["the shared memory is a fine place", "expected 4 dimensions"] {
            assert!(matches!(Error::model(other), Error::Model(_)), "{other}");
        }
    }
}
