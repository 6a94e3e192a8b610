//! Which noise levels are visited: a schedule, and a grid of S steps on it.

use crate::{
    core::{End, Grid, Schedule, Tau},
    error::{Error, Result},
    plan::{self, GridSpec, ScheduleSpec},
};

/// The spacings by name; `rho` is that of karras.
pub(crate) fn taus(rho: f64) -> [(&'static str, Tau); 11] {
    [
        ("official-uniform", Tau::OfficialUniform),
        ("official-quad", Tau::OfficialQuad),
        ("paper-linear", Tau::PaperLinear),
        ("paper-quadratic", Tau::PaperQuadratic),
        ("leading", Tau::Leading),
        ("trailing", Tau::Trailing),
        ("linspace", Tau::Linspace),
        ("linspace-real", Tau::LinspaceReal),
        ("linspace-open", Tau::LinspaceOpen),
        ("karras", Tau::Karras { rho }),
        ("log-snr", Tau::LogSnr),
    ]
}

/// Builds a schedule.
///
/// # Errors
/// Betas outside (0, 1), or fewer than two labels.
pub fn build_schedule(spec: &ScheduleSpec) -> Result<Schedule> {
    let (start, end) = (spec.beta_start.unwrap_or(1e-4), spec.beta_end.unwrap_or(0.02));
    let schedule = match spec.kind.as_str() {
        "linear" => Schedule::linear(start, end, spec.horizon),
        "linear-f32" => Schedule::linear_f32(start, end, spec.horizon),
        "scaled-linear" => Schedule::scaled_linear(start, end, spec.horizon),
        "cosine" => Schedule::cosine(spec.horizon),
        "sigmoid" => Schedule::sigmoid(start, end, spec.horizon),
        "betas" => Schedule::from_betas(&spec.betas),
        other => return Err(Error::input(format!("there is no schedule `{other}`"))),
    }?;
    Ok(if spec.zero_terminal_snr { schedule.zero_terminal_snr() } else { schedule })
}

/// Builds a grid of `steps` steps on a schedule.
///
/// # Errors
/// More steps than labels, or labels that are outside the schedule or not monotone.
pub fn build_grid(spec: &GridSpec, steps: usize, schedule: &Schedule) -> Result<Grid> {
    let tau = match &spec.tau {
        plan::Tau::Labels(labels) => Tau::Explicit(labels.clone()),
        plan::Tau::Rule(name) => taus(spec.rho.unwrap_or(7.0))
            .into_iter()
            .find_map(|(known, tau)| (known == name).then_some(tau))
            .ok_or_else(|| Error::input(format!("there is no tau `{name}`")))?,
    };
    if let Some([from, to]) = spec.window {
        return Ok(Grid::window(schedule, &tau, steps, (from, to))?);
    }
    let end = match spec.end {
        plan::End::Clean => End::Clean,
        plan::End::FirstLevel => End::FirstLevel,
    };
    Ok(Grid::new(schedule, &tau, steps, end)?)
}
