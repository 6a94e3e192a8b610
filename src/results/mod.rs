//! What a run keeps: metrics, times and their provenance, in a results folder.

pub mod date;
pub mod evaluation;
pub mod folder;
pub(crate) mod leftovers;
pub(crate) mod listing;
pub mod lock;
pub mod partial;
pub mod provenance;
pub mod record;
pub(crate) mod row;
pub mod shard;
pub mod sink;
