//! What people look at: tables, claims, plots, sheets of samples and the report, all of them
//! functions of a results folder.

pub(in crate::harness) mod axis;
pub mod claims;
pub mod compare;
pub mod fold;
pub mod image_grid;
pub mod measure;
pub mod overview;
pub(in crate::harness) mod page;
pub mod plot;
pub mod presentation;
pub mod ranks;
pub mod report;
pub mod sheet;
pub mod table;
