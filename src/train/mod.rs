//! Training: what is minimised, over which images, and by which steps.
//!
//! Everything random is a pure function of (seed, image counter), where the counter counts every
//! image each time it is seen: the order of the data ([`order`]), flips and shifts, timesteps and
//! noise ([`batch`]), and the masks of dropout ([`dropout`]). A state of training is therefore a
//! counter and a few vectors ([`trainer::State`]), and nothing else has to be kept to continue. Timesteps
//! drawn where the loss is large ([`importance`]) depend on past losses too, which the state holds.
//!
//! All weights of a network lie in one vector ([`parameters`]): the optimiser, the average and a
//! checkpoint each see one tensor, and a network is a view of it. What is learned is an
//! [`objective::Objective`]; on the CPU a batch is divided over threads where its loss allows it
//! (`workers`). Nothing here knows a file, a clock or a terminal.

pub mod adam;
pub mod batch;
pub mod classifier;
pub mod denoiser;
pub mod dropout;
pub mod importance;
pub mod job;
pub mod objective;
mod objectives;
pub mod order;
pub mod parameters;
pub mod recipe;
pub mod settings;
pub mod trainer;
pub mod variational;
mod workers;
