//! The names that manifests and flags accept: solvers, spacings and metrics, each with a description.
//!
//! Orders, model calls and levels are not written down here: they are taken from the solver or grid
//! itself.

use serde_json::{Map, Value};

use crate::core::{End, FAMILIES, Family, Grid, Schedule, Tau, count_nfe};
use crate::{error::Result, plan::Measured, run::registry::Registry};

/// The S for which model calls are counted.
const STEPS: usize = 10;

/// The S for which levels are listed.
const FEW: usize = 5;

/// A table of names: a header, and a row for each name, with the name in its first column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Names {
    /// The solvers of a registry, on a grid that ends clean.
    ///
    /// # Errors
    /// If a solver cannot be built with its own defaults.
    pub fn solvers(registry: &Registry) -> Result<Self> {
        let schedule = Schedule::linear(1e-4, 0.02, 1000)?;
        let grid = Grid::new(&schedule, &Tau::OFFICIAL_UNIFORM, STEPS, End::Clean)?;
        let row = |kind: crate::manifest::Kind| -> Result<Vec<String>> {
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
        let row = |family: &'static Family| -> Result<Vec<String>> {
            let (option, value) = family.option.unzip();
            let grid =
                Grid::new(&schedule, &Tau::Of(family, value.unwrap_or(0.0)), FEW, End::Clean)?;
            let noisy = grid.levels().iter().filter(|level| !level.is_clean());
            let label = |t: f64| {
                let text = format!("{t:.1}");
                text.strip_suffix(".0").unwrap_or(&text).to_owned()
            };
            let labels: Vec<String> = noisy.map(|level| label(level.t)).collect();
            let option = option.zip(value).map(|(option, value)| format!("{option} = {value}"));
            let about = family.about.to_owned();
            Ok(vec![family.name.to_owned(), option.unwrap_or_default(), labels.join(" "), about])
        };
        let labels = format!("timesteps at S = {FEW}, T = 1000");
        Ok(Self {
            header: ["name", "options", &labels, "what it is"].map(String::from).into(),
            rows: FAMILIES.into_iter().map(row).collect::<Result<_>>()?,
        })
    }

    /// The measures.
    pub fn metrics() -> Self {
        let row = |measure: Measured| {
            let needs = [
                (measure.needs_features(), "features"),
                (measure.needs_reference(), "reference"),
                (measure.needs_solution(), "reference solution"),
                (measure.is_of_categories(), "categorical model"),
            ];
            let needs: Vec<&str> =
                needs.into_iter().filter_map(|(needed, what)| needed.then_some(what)).collect();
            let name = measure.name();
            [name, measure.task(), &needs.join(", "), measure.about()].map(String::from).into()
        };
        Self {
            header: ["name", "task", "needs", "what it is"].map(String::from).into(),
            rows: Measured::all().map(row).collect(),
        }
    }

    /// A table for a terminal: each column is as wide as its widest entry, and empty columns are left out.
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
