//! What training minimises.

pub mod losses;
