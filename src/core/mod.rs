//! Levels, grids, noise, denoisers, solvers and the one loop over them.

mod denoiser;
mod error;
mod grid;
mod integrate;
mod level;
mod noise;
mod schedule;
mod solver;
mod state;
