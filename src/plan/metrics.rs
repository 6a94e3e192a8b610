//! `[metrics]`: which measures a cell has, on whose features.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::metrics::measure::Measure;
use crate::plan::{
    measures::{FLOOR, Measured, column_name, unit},
    outline::Column,
};

/// `[metrics]`: what is measured on the samples.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MetricsSpec {
    /// The network whose features are compared; absent if no measure needs features.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<String>,
    /// Features of the data set; absent if no measure needs them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Number of disjoint blocks of samples behind an interval.
    pub blocks: usize,
    /// Whether samples are rounded to 8 bits first, as they would be when saved.
    pub quantise: bool,
    /// The measures, in the order of [`Measured`]; absent from the JSON if they are the default, so that
    /// the keys of results from before there was a choice stay valid.
    #[serde(skip_serializing_if = "is_default")]
    pub measures: Vec<Measured>,
    /// Further networks whose features are compared in the same way, by the names that follow the
    /// metric's: `fd.NAME`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub also: BTreeMap<String, AlsoSpec>,
}

/// `[metrics.also.NAME]`: one more network for the measures that compare distributions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlsoSpec {
    /// The network.
    pub features: String,
    /// Its features of the data set; absent if no measure needs them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

/// A metric of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric<'a> {
    /// The name that a manifest uses: `fd`, `fd.NAME`.
    pub name: String,
    /// What it is.
    pub measure: Measured,
    /// The network whose features it is made of; absent if it needs none.
    pub features: Option<&'a str>,
    /// Whether the samples are replaced by exact draws.
    pub is_floor: bool,
}

impl Metric<'_> {
    /// Its column in `metrics.csv`.
    pub fn column(&self) -> String {
        match self.features {
            Some(features) => column_name(self.measure.name(), Some(features)),
            None => self.name.clone(),
        }
    }

    /// Whether sets are ranked by it: it describes all samples at once, at their number.
    pub fn is_ranked(&self) -> bool {
        self.measure.is_of_distribution() && !self.is_floor
    }
}

impl MetricsSpec {
    /// The metrics of a cell: those of the first network or of none, then those of each further one.
    pub fn metrics(&self) -> Vec<Metric<'_>> {
        let metric = |measure: Measured, more: &str, features| Metric {
            name: format!("{}{more}", measure.name()),
            measure,
            features,
            is_floor: more == FLOOR,
        };
        let first = self.measures.iter().flat_map(|&measure| {
            let features = self.features.as_deref().filter(|_| measure.needs_features());
            let floor = measure.needs_draws().then(|| metric(measure, FLOOR, None));
            std::iter::once(metric(measure, "", features)).chain(floor)
        });
        let also = self.also.iter().flat_map(|(network, also)| {
            let measures = self.measures.iter().filter(|measure| measure.is_of_features());
            measures.map(move |&measure| {
                metric(measure, &format!(".{network}"), Some(also.features.as_str()))
            })
        });
        first.chain(also).collect()
    }

    /// The columns of its metrics.
    pub fn columns(&self) -> Vec<Column> {
        let column = |metric: Metric<'_>| {
            let column = metric.column();
            let unit = unit(&column).unwrap_or_default().to_owned();
            Column { ranked: metric.is_ranked(), metric: metric.name, column, unit }
        };
        self.metrics().into_iter().map(column).collect()
    }

    /// Every network with its reference, each by what follows `metrics.` in a manifest and the
    /// roles of their hashes: empty for the first, `also.NAME.` for a further one.
    pub fn networks(&self) -> impl Iterator<Item = (String, &str, Option<&str>)> {
        let first = self.features.as_deref();
        let first = first.map(|features| (String::new(), features, self.reference.as_deref()));
        first.into_iter().chain(self.also.iter().map(|(name, also)| {
            (format!("also.{name}."), also.features.as_str(), also.reference.as_deref())
        }))
    }

    /// The first measure that compares with the reference solution, if there is one.
    pub fn measured_to_solution(&self) -> Option<Measured> {
        self.measures.iter().copied().find(|measure| measure.needs_solution())
    }

    /// Whether this measure is asked for.
    pub fn asks_for(&self, measure: &Measure) -> bool {
        self.measures.iter().any(|measured| measured.is(measure))
    }
}

fn is_default(measures: &[Measured]) -> bool {
    measures == Measured::DEFAULT
}
