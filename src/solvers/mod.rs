//! Sampling methods, one in each file.

use std::ops::RangeInclusive;

use crate::core::{Error, Result, Step};

mod adams_bashforth;
mod adaptive;
mod ddim;
mod ddpm;
mod deis;
mod dpm_solver;
mod dpm_solver_pp;
mod edm;
mod euler;
mod euler_maruyama;
mod gddim;
mod heun;
mod inverse;
mod multinomial;
mod multistep;
mod rk4;
mod tableau;
mod unipc;
mod variance;

pub use adams_bashforth::{AdamsBashforth, Plms};
pub use adaptive::DormandPrince;
pub use ddim::Ddim;
pub use ddpm::Ddpm;
pub use deis::Deis;
pub use dpm_solver::DpmSolver;
pub use dpm_solver_pp::{DpmSolverPp2M, SdeDpmSolverPp2M};
pub use edm::{Churn, Edm};
pub use euler::Euler;
pub use euler_maruyama::EulerMaruyama;
pub use gddim::Gddim;
pub use heun::Heun;
pub use inverse::Inverse;
pub use multinomial::{Mix, Multinomial};
pub use rk4::Rk4;
pub use unipc::{UniPc, UniPcB};
pub use variance::Variance;

/// The highest order of a step with diffusers' `lower_order_final`: of fewer than 15 steps, 1 for the
/// last and 2 for the one before.
fn lowered(step: Step) -> u32 {
    match step.left {
        0 if step.of() < 15 => 1,
        1 if step.of() < 15 => 2,
        _ => u32::MAX,
    }
}

/// Refuses an order that the method does not have.
fn check_order(solver: &'static str, order: u32, orders: RangeInclusive<u32>) -> Result<()> {
    if orders.contains(&order) {
        return Ok(());
    }
    let problem = format!("order = {order} must be from {} to {}", orders.start(), orders.end());
    Err(Error::Setting { solver, problem })
}
