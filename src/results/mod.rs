//! What a run keeps: rows of metrics and times, where they came from, and the folder they are in.

pub mod date;
pub mod evaluation;
pub mod folder;
pub(crate) mod leftovers;
pub mod partial;
pub mod provenance;
pub mod record;
pub mod sink;
