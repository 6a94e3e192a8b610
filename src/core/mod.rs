//! Levels, grids, noise, denoisers, solvers and the one loop over them.
//!
//! A [`Level`] is a point on the noise axis. A [`Grid`] (the paper's tau) is a strictly monotone
//! list of levels, and a [`Step`] is two neighbours. A [`Denoiser`] predicts the noise at a level,
//! a [`Solver`] carries a state across one step, and [`integrate`] is the only loop; what a solver is
//! without any state, its name and its order, is its [`Method`]. Inversion is the same solver on the
//! reversed grid. What a solver needs of a tensor is [`State`], in essence
//! one linear combination. Nothing here knows a file, a terminal or a tensor library.

mod curvature;
mod denoiser;
mod divergent;
mod error;
mod grid;
mod integrate;
mod level;
mod noise;
mod schedule;
mod slerp;
mod solver;
mod state;
mod step;
mod tau;
mod trajectory;

pub use curvature::Curvature;
pub use denoiser::{At, ClipX0, Denoiser, FromV, FromX0, Prediction};
pub use divergent::{Divergent, Trace};
#[cfg(feature = "harness")]
pub(crate) use error::out_of_memory;
pub use error::{Error, Result};
pub use grid::{End, Grid};
pub use integrate::{Outcome, count_nfe, integrate};
pub use level::{CLEAN, Level};
pub use noise::{Draw, KeyedNoise, NoNoise, Noise, generator};
pub use schedule::Schedule;
pub use slerp::slerp;
pub use solver::{Affine, Eval, Method, Solver};
pub(crate) use state::largest;
pub use state::{Ghost, State};
pub use step::Step;
pub use tau::{FAMILIES, Family, Tau, cheapest};
pub use trajectory::Trajectory;

/// Version of the numerics: part of every cell's key, raised when the same manifest would give
/// other numbers.
pub const NUMERICS: &str = "1";
