//! What a command can end with, and whose turn it is then.

use crate::diagnostic::Diagnostics;

/// Shorthand for results of the harness.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a command did not finish.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Problems of a manifest, all of them.
    #[error("{}", .0.render(false))]
    Manifest(Diagnostics),
    /// Anything else a user can put right: a flag, a path, a file's content.
    #[error("{0}")]
    Input(String),
    /// The results folder could not be read or written.
    #[error(transparent)]
    Results(Box<dyn std::error::Error + Send + Sync>),
    /// The numerical core refused or failed.
    #[error(transparent)]
    Core(#[from] crate::core::Error),
    /// A cell's reference solution cannot be computed.
    #[error("reference solution: {0}")]
    Solution(String),
    /// A metric could not be computed.
    #[error(transparent)]
    Metric(#[from] crate::metrics::Error),
    /// The run was interrupted; what was finished is on disk.
    #[error("interrupted; what was finished is kept, and the same command goes on from there")]
    Interrupted,
}

impl Error {
    /// A mistake of the user's, in one sentence with its remedy.
    pub fn input(message: impl Into<String>) -> Self {
        Self::Input(message.into())
    }

    /// The process's exit code: 2 for a mistake of the user's, 1 for a failed run, 130 for Ctrl-C.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Manifest(_) | Self::Input(_) | Self::Solution(_) => 2,
            Self::Core(core) => match core {
                crate::core::Error::NotFinite { .. }
                | crate::core::Error::BeyondF32 { .. }
                | crate::core::Error::Model(_) => 1,
                crate::core::Error::Interrupted => 130,
                _ => 2,
            },
            Self::Interrupted => 130,
            _ => 1,
        }
    }
}

/// Files a user named and that are not what they should be.
macro_rules! input_errors {
    ($($source:ty),* $(,)?) => {$(
        impl From<$source> for Error {
            fn from(error: $source) -> Self {
                Self::Input(error.to_string())
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
            other => Self::Input(other.to_string()),
        }
    }
}

input_errors!(
    crate::data::cifar10::Cifar10Error,
    crate::data::npy::NpyError,
    crate::networks::checkpoint::CheckpointError,
    crate::networks::features::FeatureError,
    crate::networks::hub::HubError,
    crate::networks::conversion::ConvertError,
    crate::networks::open_error::OpenError,
);
