//! Averages over an axis, usually the seed.
//!
//! Seeds are an ordinary axis of the sweep (`"seed" = [0, 1, 2]`): every cell is drawn once with
//! each, from noise that is independent across seeds, and kept and resumed like any other. `over =
//! "seed"` in `[table]` averages over the axis when results are shown: table, claims, differences and
//! plots show the means, with the jackknife interval of the mean
//! ([`Jackknife::mean_of`]), and `summary.csv` has the mean, the lowest, the highest and each
//! seed's value. Karras et al. 2022 quote the lowest FID of three seeds; a lowest value is biased
//! downwards, and has no interval.
//!
//! A mean needs the cells of all labels: if one diverged, the mean counts as diverged, and if one is
//! missing, there is no mean.

use crate::metrics::Jackknife;
use crate::report::measure::{COUNTS, counts};
use crate::report::text::float;
use crate::results::record::{
    Columns, FIELDS, PARAM, Record, SUFFIXES, Status, csv_bytes, fields, names,
};

/// An axis that is folded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// Its name.
    pub axis: String,
    /// All its labels.
    pub labels: Vec<String>,
}

impl Fold {
    /// One record for each combination of the other axes' labels, with the means of its metrics.
    pub fn records(&self, records: &[Record]) -> Vec<Record> {
        self.groups(records).iter().map(|group| self.mean(group)).collect()
    }

    /// Groups of records that differ only on this axis, in its order; only those with a record for each
    /// label.
    fn groups<'r>(&self, records: &'r [Record]) -> Vec<Vec<&'r Record>> {
        let mut groups: Vec<Vec<&Record>> = vec![];
        for record in records {
            let same = |group: &&mut Vec<&Record>| {
                group.first().is_some_and(|first| self.others(first) == self.others(record))
            };
            match groups.iter_mut().find(same) {
                Some(group) => group.push(record),
                None => groups.push(vec![record]),
            }
        }
        let whole = |group: Vec<&'r Record>| {
            let labels = self.labels.iter();
            let of = |label| group.iter().find(|record| record.label(&self.axis) == Some(label));
            labels.map(|label| of(label).copied()).collect()
        };
        groups.into_iter().filter_map(whole).collect()
    }

    fn others(&self, record: &Record) -> Vec<(String, String)> {
        record.params.iter().filter(|(axis, _)| *axis != self.axis).cloned().collect()
    }

    fn mean(&self, group: &[&Record]) -> Record {
        let first = group[0];
        let diverged = group.iter().any(|record| record.status == Status::Diverged);
        let metric = |name: &String| {
            let values: Option<Vec<&Jackknife>> =
                group.iter().map(|record| record.metrics.get(name)).collect();
            Some((name.clone(), Jackknife::mean_of(&values?).ok()?))
        };
        let keys: Vec<&str> = group.iter().map(|record| record.key.as_str()).collect();
        Record {
            key: keys.join("+"),
            status: if diverged { Status::Diverged } else { Status::Done },
            params: self.others(first),
            metrics: first.metrics.keys().filter_map(metric).filter(|_| !diverged).collect(),
            ..first.clone()
        }
    }

    /// `summary.csv`: for each metric `m` the mean `m` of the plug-in values at N with its columns
    /// up to `m.corrected.high` as in `metrics.csv`, and of the plug-in values `m.min`, `m.max` and
    /// each, as `m.seed=0`.
    pub fn summary_csv(&self, columns: &Columns, records: &[Record]) -> Vec<u8> {
        let axes: Vec<&String> = columns.axes.iter().filter(|axis| **axis != self.axis).collect();
        let mut header = vec!["status".to_owned()];
        header.extend(axes.iter().map(|axis| format!("{PARAM}{axis}")));
        header.extend(COUNTS.map(String::from));
        for metric in &columns.metrics {
            header.extend(names(metric, &SUFFIXES[..FIELDS - 2]));
            header.extend(["min", "max"].map(|suffix| format!("{metric}.{suffix}")));
            let each = |label: &String| format!("{metric}.{}={label}", self.axis);
            header.extend(self.labels.iter().map(each));
        }
        let rows = self.groups(records).into_iter().map(|group| {
            let mean = self.mean(&group);
            let mut row = vec![mean.status.as_str().to_owned()];
            row.extend(axes.iter().map(|axis| mean.label(axis).unwrap_or_default().to_owned()));
            row.extend(counts(&mean).map(|count| count.to_string()));
            for name in &columns.metrics {
                row.extend(summary(&mean, &group, name));
            }
            row
        });
        csv_bytes(&header, rows)
    }

    /// `seed = 0, 1, 2`
    pub fn describe(&self) -> String {
        format!("{} = {}", self.axis, self.labels.join(", "))
    }
}

/// The columns of one metric, empty where a seed diverged.
fn summary(mean: &Record, group: &[&Record], name: &str) -> Vec<String> {
    let each: Vec<Option<f64>> =
        group.iter().map(|record| Some(record.metrics.get(name)?.value)).collect();
    let each_printed = each.iter().map(|x| x.map_or_else(String::new, float));
    let Some(metric) = mean.metrics.get(name) else {
        return vec![String::new(); FIELDS + 1].into_iter().chain(each_printed).collect();
    };
    let lowest = each.iter().flatten().copied().fold(f64::INFINITY, f64::min);
    let highest = each.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
    let fields = fields(metric).into_iter().take(FIELDS - 1);
    fields.chain([lowest, highest].map(float)).chain(each_printed).collect()
}
