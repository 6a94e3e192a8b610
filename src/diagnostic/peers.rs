//! The names that other libraries give to solvers, spacings, schedules and measures.
//!
//! Names are compared without case, spaces and punctuation, and without a leading `sample_` or a final
//! `Scheduler`: `DPMSolverMultistepScheduler`, `k_dpmpp_2m` and `dpm++ 2m` are one name.

/// A name elsewhere, the name here, and a note.
type Row = (&'static str, &'static str, &'static str);

const SAME: &str = "";

/// Names as [`plain`] leaves them.
const ROWS: [Row; 58] = [
    ("dpmsolvermultistep", "dpm-solver++2m", SAME),
    ("dpmsolver++", "dpm-solver++2m", SAME),
    ("dpmsolverpp", "dpm-solver++2m", SAME),
    ("dpm++", "dpm-solver++2m", SAME),
    ("dpmpp", "dpm-solver++2m", SAME),
    ("dpm++2m", "dpm-solver++2m", SAME),
    ("dpmpp2m", "dpm-solver++2m", SAME),
    ("dpm++2mkarras", "dpm-solver++2m", "with `tau = \"karras\"`"),
    ("dpmpp2mkarras", "dpm-solver++2m", "with `tau = \"karras\"`"),
    ("dpm++2msde", "sde-dpm-solver++2m", SAME),
    ("dpmpp2msde", "sde-dpm-solver++2m", SAME),
    ("sdedpmsolver++", "sde-dpm-solver++2m", SAME),
    ("dpm++sde", "sde-dpm-solver++2m", "the nearest: there is no singlestep SDE solver here"),
    ("dpmppsde", "sde-dpm-solver++2m", "the nearest: there is no singlestep SDE solver here"),
    ("dpmsolversde", "sde-dpm-solver++2m", "the nearest: there is no singlestep SDE solver here"),
    ("dpmsolversinglestep", "dpm-solver", SAME),
    ("dpmsolver", "dpm-solver", SAME),
    ("dpm2", "dpm-solver", "the nearest, with `order = 2`"),
    ("kdpm2discrete", "dpm-solver", "the nearest, with `order = 2`"),
    ("dpm2a", "ddim", "the nearest that draws noise, with `eta = 1`"),
    ("dpm2ancestral", "ddim", "the nearest that draws noise, with `eta = 1`"),
    ("kdpm2ancestraldiscrete", "ddim", "the nearest that draws noise, with `eta = 1`"),
    ("dpmfast", "dpm-solver", "the nearest: orders are not mixed here"),
    ("dpmadaptive", "dormand-prince", "the nearest that chooses its steps"),
    ("eulerdiscrete", "euler", SAME),
    ("eulera", "ddim", "with `eta = 1`: the same step"),
    ("eulerancestral", "ddim", "with `eta = 1`: the same step"),
    ("eulerancestraldiscrete", "ddim", "with `eta = 1`: the same step"),
    ("heundiscrete", "heun", SAME),
    ("edmeuler", "edm", "the nearest, with Heun's steps"),
    ("karrasve", "edm", SAME),
    ("stochastickarras", "edm", SAME),
    ("lms", "adams-bashforth", "the same polynomial, with another start"),
    ("lmsdiscrete", "adams-bashforth", "the same polynomial, with another start"),
    ("pndm", "plms", "without Runge-Kutta steps at the start (`skip_prk_steps`)"),
    ("ipndm", "plms", "the nearest"),
    ("deismultistep", "deis", SAME),
    ("unipc", "unipc-bh2", "the default elsewhere; `unipc-bh1` is the other"),
    ("unipcmultistep", "unipc-bh2", "the default elsewhere; `unipc-bh1` is the other"),
    ("rungekutta", "rk4", SAME),
    ("rk45", "dormand-prince", SAME),
    ("dopri5", "dormand-prince", SAME),
    ("ode45", "dormand-prince", SAME),
    ("ddimsampler", "ddim", SAME),
    ("ancestral", "ddpm", SAME),
    ("generalized", "ddim", SAME),
    ("ddpmnoisy", "ddpm", "with `variance = \"sigma-hat\"`"),
    ("uniform", "official-uniform", SAME),
    ("quad", "official-quad", "`paper-quadratic` is the paper's formula"),
    ("quadratic", "official-quad", "`paper-quadratic` is the paper's formula"),
    ("exponential", "log-snr", SAME),
    ("loglinear", "log-snr", SAME),
    ("logsnr", "log-snr", SAME),
    ("squaredcoscapv2", "cosine", SAME),
    ("fid", "fd", "with `features = \"inception\"`"),
    ("frechet", "fd", SAME),
    ("inceptionscore", "is", SAME),
    ("fixedlarge", "sigma-hat", SAME),
];

/// Names elsewhere for what does not exist here, with the nearest that does.
const NONE: [(&str, &str); 6] = [
    ("lcm", "ddim"),
    ("tcd", "ddim"),
    ("consistency", "ddim"),
    ("flowmatcheulerdiscrete", "euler"),
    ("sasolver", "sde-dpm-solver++2m"),
    ("vqdiffusion", "ddpm"),
];

/// A name in its plain form, the same for all ways of writing it.
fn plain(name: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || *c == '+';
    let name: String = name.to_lowercase().chars().filter(kept).collect();
    let name = name.strip_suffix("scheduler").unwrap_or(&name);
    let name = name.strip_prefix("sample").filter(|rest| !rest.is_empty()).unwrap_or(name);
    name.to_owned()
}

/// A sentence with the known name that another library's name stands for.
pub(crate) fn meant(name: &str, known: &[&str]) -> Option<String> {
    let asked = plain(name);
    if asked.len() < 2 {
        return None;
    }
    // k-diffusion's names begin with the k of Karras.
    let forms = [Some(asked.as_str()), asked.strip_prefix('k')];
    for form in forms.into_iter().flatten() {
        if let Some(same) = known.iter().find(|known| plain(known) == form) {
            return Some(format!("did you mean `{same}`?"));
        }
        let row = ROWS.iter().find(|(other, here, _)| *other == form && known.contains(here));
        if let Some((_, here, note)) = row {
            let note = if note.is_empty() { String::new() } else { format!(", {note}") };
            return Some(format!("it is `{here}` here{note}"));
        }
        let none = NONE.iter().find(|(other, here)| *other == form && known.contains(here));
        if let Some((_, here)) = none {
            return Some(format!("not available here; the nearest is `{here}`"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::FAMILIES,
        diagnostic::suggest,
        plan::{Measured, Rule, VARIANCES},
        run::{assemble, registry::Registry},
    };

    #[test]
    fn the_names_of_the_peers_lead_to_the_method() {
        let vocabulary = assemble::vocabulary(&Registry::shipped());
        let solvers: Vec<&str> = vocabulary.solvers.iter().map(|kind| kind.name.as_str()).collect();
        let taus = FAMILIES.map(|family| family.name);
        let metrics = Measured::all().map(Measured::name);
        let solver = |name: &str| suggest(name, solvers.iter().copied());
        for (name, here) in [
            ("dpmsolver++", "dpm-solver++2m"),
            ("DPM-Solver++2M", "dpm-solver++2m"),
            ("dpm++ 2m", "dpm-solver++2m"),
            ("k_dpmpp_2m", "dpm-solver++2m"),
            ("DPMSolverMultistepScheduler", "dpm-solver++2m"),
            ("dpmsolver", "dpm-solver"),
            ("euler_a", "ddim"),
            ("EulerAncestralDiscreteScheduler", "ddim"),
            ("DDIMScheduler", "ddim"),
            ("DDPMScheduler", "ddpm"),
            ("k_heun", "heun"),
            ("sample_heun", "heun"),
            ("k_euler", "euler"),
            ("PNDMScheduler", "plms"),
            ("UniPCMultistepScheduler", "unipc-bh2"),
            ("dopri5", "dormand-prince"),
            ("LCMScheduler", "ddim"),
            ("hoin", "heun"),
        ] {
            assert!(
                solver(name).contains(&format!("`{here}`")) || name == "hoin",
                "{}",
                solver(name)
            );
        }
        assert_eq!(solver("euler_a"), "it is `ddim` here, with `eta = 1`: the same step");
        assert_eq!(solver("LCMScheduler"), "not available here; the nearest is `ddim`");
        assert_eq!(solver("huen"), "did you mean `heun`?");
        assert!(suggest("uniform", taus.iter().copied()).contains("`official-uniform`"));
        assert!(suggest("FID", metrics.clone()).contains("`fd` here, with `features"));
    }

    #[test]
    fn every_row_leads_to_a_name_that_is_known() {
        let vocabulary = assemble::vocabulary(&Registry::shipped());
        let mut known: Vec<String> = vec![];
        known.extend(vocabulary.solvers.iter().map(|kind| kind.name.clone()));
        known.extend(Measured::all().map(|measure| measure.name().to_owned()));
        known.extend(FAMILIES.map(|family| family.name.to_owned()));
        known.extend(Rule::ALL.map(|rule| rule.name().to_owned()));
        known.extend(VARIANCES.map(|(name, _)| name.to_owned()));
        for (other, here) in
            ROWS.iter().map(|(a, b, _)| (a, b)).chain(NONE.iter().map(|(a, b)| (a, b)))
        {
            assert!(known.iter().any(|known| known == here), "{here}");
            assert_eq!(plain(other), *other);
        }
    }
}
