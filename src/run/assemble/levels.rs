//! Whether the schedule in use is the one that a file of weights keeps beside them.

use crate::{
    core,
    networks::checkpoint::OwnLevels,
    plan::{Rule, ScheduleSpec},
};

/// The largest difference of two alpha_bar of one level: buffers may be F16.
const ROUNDING: f64 = 0.01;

/// What to say if the buffers of a file of weights contradict a schedule.
///
/// # Errors
/// A schedule that cannot be built.
pub(super) fn contradiction(own: &OwnLevels, spec: &ScheduleSpec) -> core::Result<Option<String>> {
    let Some(difference) = difference(own, spec)? else { return Ok(None) };
    let OwnLevels { name, alpha_bar } = own;
    let remedy = match rule(own) {
        Some(rule) => format!("they are those of `schedule.kind = \"{}\"`", rule.name()),
        None => "`schedule.kind = \"betas\"` takes a list of them".to_owned(),
    };
    let horizon = match alpha_bar.len() {
        own if own == spec.horizon => String::new(),
        own => format!(", T = {own} (`schedule.horizon`)"),
    };
    Ok(Some(format!(
        "`{name}` beside its weights contradicts the schedule in use: {difference}; {remedy}{horizon}"
    )))
}

/// The largest difference, in words; none within rounding.
fn difference(own: &OwnLevels, spec: &ScheduleSpec) -> core::Result<Option<String>> {
    let schedule = spec.build()?;
    if own.alpha_bar.len() != schedule.horizon() {
        let (own, here) = (own.alpha_bar.len(), schedule.horizon());
        return Ok(Some(format!("it has {own} timesteps, not {here}")));
    }
    let mut largest = (1.0, None);
    for (t, &own) in own.alpha_bar.iter().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "timesteps are small")]
        let here = schedule.level(t as f64)?.alpha_bar;
        let allowed = ROUNDING * own.max(here) + 1e-6;
        let off = (own - here).abs() / allowed;
        let off = if off.is_nan() { f64::INFINITY } else { off };
        if off > largest.0 {
            largest = (off, Some(format!("alpha_bar is {own:.4} at timestep {t}, not {here:.4}")));
        }
    }
    Ok(largest.1)
}

/// The rule with its default betas that gives these levels, if there is one.
fn rule(own: &OwnLevels) -> Option<Rule> {
    let rules = [Rule::Linear, Rule::ScaledLinear, Rule::Cosine, Rule::Sigmoid];
    rules.into_iter().find(|&kind| {
        let spec = ScheduleSpec { kind, horizon: own.alpha_bar.len(), ..ScheduleSpec::default() };
        matches!(difference(own, &spec), Ok(None))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The levels of a schedule, as a file would keep them.
    fn levels(kind: Rule, horizon: usize) -> OwnLevels {
        let spec = ScheduleSpec { kind, horizon, ..ScheduleSpec::default() };
        let schedule = spec.build().unwrap();
        #[expect(clippy::cast_precision_loss, reason = "timesteps are small")]
        let alpha_bar = (0..horizon).map(|t| schedule.level(t as f64).unwrap().alpha_bar);
        OwnLevels { name: "betas".to_owned(), alpha_bar: alpha_bar.collect() }
    }

    #[test]
    fn a_schedule_is_held_to_the_levels_beside_the_weights() {
        let spec = ScheduleSpec::default();
        let said = |own: &OwnLevels| contradiction(own, &spec).unwrap();
        let mut own = levels(Rule::Linear, 1000);
        assert_eq!(said(&own), None);
        own.alpha_bar[300] *= 0.995;
        assert_eq!(said(&own), None);
        own.alpha_bar[300] *= 0.99;
        assert!(said(&own).unwrap().contains("at timestep 300, not"));
        insta::assert_snapshot!(said(&levels(Rule::Cosine, 1000)).unwrap(), @r#"`betas` beside its weights contradicts the schedule in use: alpha_bar is 0.0436 at timestep 864, not 0.0005; they are those of `schedule.kind = "cosine"`"#);
        insta::assert_snapshot!(said(&levels(Rule::Linear, 200)).unwrap(), @r#"`betas` beside its weights contradicts the schedule in use: it has 200 timesteps, not 1000; they are those of `schedule.kind = "linear"`, T = 200 (`schedule.horizon`)"#);
        let mut own = levels(Rule::Linear, 1000);
        own.alpha_bar[500] = f64::NAN;
        insta::assert_snapshot!(said(&own).unwrap(), @r#"`betas` beside its weights contradicts the schedule in use: alpha_bar is NaN at timestep 500, not 0.0778; `schedule.kind = "betas"` takes a list of them"#);
    }
}
