//! Tables, claims, plots, sheets of samples and the report, all of them functions of a results folder.

pub(crate) mod axis;
pub mod claims;
pub mod compare;
pub mod cross;
pub mod fold;
pub mod html;
pub mod image_grid;
pub mod measure;
pub mod overview;
pub(crate) mod page;
pub mod plot;
pub mod ranks;
pub mod sheet;
pub mod table;
pub(crate) mod text;
