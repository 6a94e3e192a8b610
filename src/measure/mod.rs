//! From samples to numbers: feature networks, reference statistics of data sets, instruments.

pub mod accuracy;
pub mod evaluate;
pub mod features;
pub mod instruments;
pub(crate) mod published;
pub mod reference;
pub mod reference_files;
pub mod samples;
pub mod stats;
pub(crate) mod stored;
