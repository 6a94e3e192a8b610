//! The names that manifests and flags know, with what each stands for: solvers, spacings, metrics.
//!
//! What can be found by asking the thing itself is asked: orders, model calls and levels are counted.

use serde_json::{Map, Value};

use super::{build::taus, error::Result, plan::Measured, registry::Registry};
use crate::core::{End, Grid, Schedule, Tau, count_nfe};

/// The S for which model calls are counted.
const STEPS: usize = 10;

/// The S for which levels are listed.
const FEW: usize = 5;

/// A table of names: a header, and a row for each name, which stands first in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Names {
    /// The solvers of a registry, on a grid that ends clean.
    ///
    /// # Errors
    /// A solver that its own defaults do not build.
    pub fn solvers(registry: &Registry) -> Result<Self> {
        let schedule = Schedule::linear(1e-4, 0.02, 1000)?;
        let grid = Grid::new(&schedule, &Tau::OfficialUniform, STEPS, End::Clean)?;
        let row = |kind: super::manifest::Kind| -> Result<Vec<String>> {
            let takes_eta = kind.keys.contains(&"eta");
            let solver = registry.build(&Registry::section(&kind), &schedule, STEPS)?;
            let order = solver.order().map_or_else(|| "-".to_owned(), |order| order.to_string());
            let noise = match (takes_eta, solver.draws_noise()) {
                (true, _) => "if eta > 0",
                (false, true) => "yes",
                (false, false) => "no",
            };
            let eta = takes_eta.then(|| format!("eta = {}", kind.default_eta));
            let variance = takes_eta.then(|| "or variance".to_owned());
            let own = kind.options.iter().map(|(key, default)| format!("{key} = {default}"));
            let options: Vec<String> = eta.into_iter().chain(variance).chain(own).collect();
            let adaptive = kind.options.iter().any(|(key, _)| *key == "rtol");
            let calls = count_nfe(&*solver, &grid)?;
            let least = if adaptive { "at least " } else { "" };
            let reference = registry.reference(&kind.name).to_owned();
            Ok(vec![
                kind.name,
                options.join(", "),
                order,
                format!("{least}{calls}"),
                noise.to_owned(),
                reference,
            ])
        };
        let calls = format!("calls at S = {STEPS}");
        Ok(Self {
            header: ["name", "options", "order", &calls, "noise", "reference"]
                .map(String::from)
                .into(),
            rows: registry.kinds().into_iter().map(row).collect::<Result<_>>()?,
        })
    }

    /// The spacings of levels, T = 1000 on the linear schedule.
    ///
    /// # Errors
    /// None on that schedule.
    pub fn taus() -> Result<Self> {
        let schedule = Schedule::linear(1e-4, 0.02, 1000)?;
        let row = |(name, tau): &(&str, Tau)| -> Result<Vec<String>> {
            let grid = Grid::new(&schedule, tau, FEW, End::Clean)?;
            let noisy = grid.levels().iter().filter(|level| !level.is_clean());
            let label = |t: f64| {
                let text = format!("{t:.1}");
                text.strip_suffix(".0").unwrap_or(&text).to_owned()
            };
            let labels: Vec<String> = noisy.map(|level| label(level.t)).collect();
            let option = match tau {
                Tau::Karras { rho } => format!("rho = {rho}"),
                _ => String::new(),
            };
            Ok(vec![(*name).to_owned(), option, labels.join(" "), about_tau(tau).to_owned()])
        };
        let labels = format!("labels at S = {FEW}, T = 1000");
        Ok(Self {
            header: ["name", "options", &labels, "what it is"].map(String::from).into(),
            rows: taus(7.0).iter().map(row).collect::<Result<_>>()?,
        })
    }

    /// What can be measured.
    pub fn metrics() -> Self {
        let row = |measure: Measured| {
            let needs = [
                (measure.needs_features(), "features"),
                (measure.needs_reference(), "reference"),
                (measure.needs_truth(), "truth"),
            ];
            let needs: Vec<&str> =
                needs.into_iter().filter_map(|(needed, what)| needed.then_some(what)).collect();
            let name = measure.name();
            let about = METRICS_ABOUT.iter().find(|(known, _)| *known == name);
            [name, measure.task(), &needs.join(", "), about.map_or("", |(_, about)| about)]
                .map(String::from)
                .into()
        };
        Self {
            header: ["name", "task", "needs", "what it is"].map(String::from).into(),
            rows: Measured::ALL.into_iter().map(row).collect(),
        }
    }

    /// A table for a terminal: a column is as wide as its widest entry, and empty ones are left out.
    pub fn text(&self) -> String {
        let all = || std::iter::once(&self.header).chain(&self.rows);
        let width = |k: usize| all().map(|row| row[k].chars().count()).max().unwrap_or(0);
        let shown: Vec<(usize, usize)> = (0..self.header.len())
            .filter(|&k| self.rows.iter().any(|row| !row[k].is_empty()))
            .map(|k| (k, width(k)))
            .collect();
        let line = |row: &Vec<String>| {
            let cells = shown.iter().map(|&(k, width)| format!("{:width$}", row[k]));
            format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
        };
        all().map(line).collect()
    }

    /// A list of objects, one for each name.
    ///
    /// # Panics
    /// Never: plain data serialises.
    pub fn json(&self) -> String {
        let object = |row: &Vec<String>| {
            let fields = self.header.iter().cloned().zip(row.iter().cloned().map(Value::from));
            Value::Object(fields.collect::<Map<_, _>>())
        };
        let list: Vec<Value> = self.rows.iter().map(object).collect();
        serde_json::to_string_pretty(&list).expect("invariant: plain data serialises")
    }
}

fn about_tau(tau: &Tau) -> &'static str {
    match tau {
        Tau::OfficialUniform => "the official code's range(0, T, T / S)",
        Tau::OfficialQuad => {
            "the official code's linspace(0, sqrt(0.8 T), S)^2, repetitions dropped"
        }
        Tau::PaperLinear => "Song, Meng, Ermon 2021, D.2: floor(i T / S)",
        Tau::PaperQuadratic => {
            "Song, Meng, Ermon 2021, D.2: floor(i^2 T / S^2), repetitions dropped"
        }
        Tau::Leading => "diffusers' leading",
        Tau::Trailing => "diffusers' trailing",
        Tau::Linspace => "diffusers' linspace of DDIM: S points from 0 to T - 1, rounded",
        Tau::LinspaceReal => "diffusers' linspace of Heun: the same, not rounded",
        Tau::LinspaceOpen => {
            "diffusers' linspace of DPM-Solver++: S + 1 points, rounded, without 0"
        }
        Tau::Karras { .. } => "Karras et al. 2022, Eq. (5): even in sigma^(1 / rho)",
        Tau::LogSnr => "Lu et al. 2022, section 3.4: even in log sigma",
        Tau::Explicit(_) => "the labels as listed",
    }
}

const METRICS_ABOUT: [(&str, &str); 22] = [
    ("fd", "Frechet distance of features (FID with features = \"inception\"), lower is better"),
    ("kid", "kernel distance of features, unbiased, lower is better"),
    ("is", "Inception Score, higher is better"),
    ("precision", "share of samples among the data's features, k = 3, higher is better"),
    ("recall", "share of the data among the samples' features, k = 3, higher is better"),
    ("sliced-wasserstein", "squared sliced 2-Wasserstein distance to exact draws, per dimension"),
    ("mean-error", "squared difference of the means from that of exact draws, per dimension"),
    ("covariance-error", "squared difference of the covariances likewise, per dimension"),
    ("error", "root mean square difference from the truth of the same noise, mean of samples"),
    ("error-median", "the median of samples of the same, which a heavy tail does not move"),
    ("feature-error", "distance of a sample's features from those of the truth of the same noise"),
    ("mse", "mean squared error of a reconstruction, values in [0, 1]"),
    ("mse-raw", "the same, values in [-1, 1]"),
    ("latent-mean", "mean of a latent's elements; noise has 0"),
    ("latent-std", "their standard deviation; noise has 1"),
    ("latent-kurtosis", "their excess kurtosis; noise has 0"),
    ("latent-horizontal", "correlation of horizontal neighbours in a latent; noise has 0"),
    ("latent-vertical", "correlation of vertical neighbours in a latent; noise has 0"),
    ("latent-norm", "norm of a latent over the root of its dimension; noise has 1"),
    (
        "latent-error",
        "root mean square difference of a latent from the noise its image was made of",
    ),
    ("path-length", "length of an interpolated path over the distance of its ends"),
    ("path-jump", "longest step of such a path over its mean step"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_says_what_it_is() {
        let all = [
            Names::solvers(&Registry::shipped()).unwrap(),
            Names::taus().unwrap(),
            Names::metrics(),
        ];
        for names in all {
            for row in names.rows {
                assert!(!row[0].is_empty() && !row[row.len() - 1].is_empty(), "{row:?}");
            }
        }
    }

    #[test]
    fn orders_and_calls_are_those_of_the_methods() {
        let names = Names::solvers(&Registry::shipped()).unwrap();
        let of =
            |name: &str| names.rows.iter().find(|row| row[0] == name).unwrap()[1..5].join(" | ");
        assert_eq!(of("ddim"), "eta = 0, or variance | 1 | 10 | if eta > 0");
        assert_eq!(of("heun"), " | 2 | 19 | no");
        assert_eq!(of("unipc-bh2"), "order = 2 | 3 | 10 | no");
        assert_eq!(of("sde-dpm-solver++2m"), " | - | 10 | yes");
        assert!(of("dormand-prince").contains("at least"));
    }
}
