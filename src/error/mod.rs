//! How a command can fail, and with which exit code.

pub(crate) mod remedy;

use crate::data::npy::NpyError;
use crate::diagnostic::Diagnostics;
use crate::networks::{compile::CompileError, features::FeatureError};

/// Shorthand for results of the harness.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a command did not finish.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// All problems of a manifest.
    #[error("{}", .0.render(false))]
    Manifest(Diagnostics),
    /// Anything else the user can correct: a flag, a path, the content of a file.
    #[error("{0}")]
    Input(String),
    /// The results folder could not be read or written.
    #[error(transparent)]
    Results(Box<dyn std::error::Error + Send + Sync>),
    /// The numerical core refused or failed.
    #[error(transparent)]
    Core(#[from] crate::core::Error),
    /// A reference solution that cannot be computed.
    #[error("reference solution: {0}")]
    Solution(String),
    /// A metric could not be computed.
    #[error(transparent)]
    Metric(#[from] crate::metrics::Error),
    /// Another program that was asked to do a part failed.
    #[error("{0}")]
    Failed(String),
    /// Work that is done as a whole or not at all was interrupted.
    #[error("interrupted; nothing was written")]
    Stopped,
    /// The run was interrupted; finished work is on disk.
    #[error("interrupted; finished work is kept, and the same command continues")]
    Interrupted,
    /// The same, with the command.
    #[error("interrupted; finished work is kept; continue with: {0}")]
    Continue(String),
}

impl Error {
    /// A mistake of the user, as one sentence with its remedy.
    pub fn input(message: impl Into<String>) -> Self {
        Self::Input(message.into())
    }

    /// Whether there was no memory for what a model or the tensor library was asked.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Core(crate::core::Error::OutOfMemory(_)))
    }

    /// The exit code: 2 for a mistake of the user, 1 for a failed run, 130 for an interruption.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Manifest(_) | Self::Input(_) | Self::Solution(_) => 2,
            Self::Core(core) => match core {
                crate::core::Error::NotFinite { .. }
                | crate::core::Error::BeyondF32 { .. }
                | crate::core::Error::Unending { .. }
                | crate::core::Error::OutOfMemory(_)
                | crate::core::Error::Model(_) => 1,
                crate::core::Error::Interrupted => 130,
                _ => 2,
            },
            Self::Interrupted | Self::Continue(_) | Self::Stopped => 130,
            _ => 1,
        }
    }
}

/// Converts errors about files that the user named, each by what makes a sentence of it.
macro_rules! input_errors {
    ($($source:ty => $sentence:expr),* $(,)?) => {$(
        impl From<$source> for Error {
            fn from(error: $source) -> Self {
                Self::Input($sentence(&error))
            }
        }
    )*};
}

impl From<crate::data::Error> for Error {
    fn from(error: crate::data::Error) -> Self {
        match error {
            crate::data::Error::Download(crate::data::download::DownloadError::Interrupted) => {
                Self::Interrupted
            }
            other => Self::Input(remedy::images(&other)),
        }
    }
}

impl From<NpyError> for Error {
    fn from(error: NpyError) -> Self {
        match &error {
            NpyError::Io { action: "write", source, .. } => {
                Self::Failed(remedy::sentence(&error.to_string(), remedy::unwritten(source)))
            }
            NpyError::Write { .. } => Self::Failed(error.to_string()),
            other => Self::Input(other.to_string()),
        }
    }
}

impl From<CompileError> for Error {
    fn from(error: CompileError) -> Self {
        match error {
            CompileError::Interrupted => Self::Stopped,
            CompileError::Run(core) => Self::Core(core),
            CompileError::Failed { .. }
            | CompileError::Differs { .. }
            | CompileError::Load(_)
            | CompileError::Torch(_) => Self::Failed(remedy::compilation(&error)),
            other => Self::Input(remedy::compilation(&other)),
        }
    }
}

impl From<FeatureError> for Error {
    fn from(error: FeatureError) -> Self {
        let text = remedy::extractor(&error);
        match crate::core::Error::model(error) {
            crate::core::Error::Model(_) => Self::Input(text),
            no_memory => Self::Core(no_memory),
        }
    }
}

input_errors!(
    crate::data::cifar10::Cifar10Error => ToString::to_string,
    crate::networks::hub::HubError => ToString::to_string,
    crate::networks::checkpoint::CheckpointError => remedy::checkpoint,
    crate::networks::conversion::ConvertError => remedy::conversion,
    crate::networks::open_error::OpenError => remedy::network,
);
