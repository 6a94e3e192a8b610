//! One sampling method a file.

mod ddim;
mod ddpm;
mod dpm_solver_pp;
mod euler;
mod heun;
mod variance;
