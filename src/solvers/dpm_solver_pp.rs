//! dpm_solver_pp
