//! One sampling method a file, each no longer than its equation needs.

mod ddim;
mod ddpm;
mod dpm_solver_pp;
mod euler;
mod heun;
mod variance;

pub use ddim::Ddim;
pub use ddpm::Ddpm;
pub use dpm_solver_pp::DpmSolverPp2M;
pub use euler::Euler;
pub use heun::Heun;
pub use variance::Variance;
