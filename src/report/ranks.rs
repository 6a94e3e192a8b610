//! Compares how the measures rank the sets of samples, with `rank = true` in `[table]`.
//!
//! Every finished cell is a set. Ranks use the bias-corrected values, as claims do; the best has
//! rank 1. Two measures are compared by Spearman's correlation and, for each pair of sets, by which of
//! the two each measure calls better: as in claims, by the paired difference with its 95 % interval,
//! not corrected for the number of comparisons.

use std::fmt::Write as _;

use crate::metrics::{Jackknife, RankCorrelation, rank_correlation, ranks};
use crate::plan::measures::is_score;
use crate::report::text::{float, markdown_table, named, three_decimals};
use crate::results::record::{Estimate, LEVEL, Record, csv_bytes};

/// Sets of samples with the values of several measures.
#[derive(Clone, Debug)]
pub struct Ranks<'a> {
    /// The columns of `metrics.csv`.
    pub columns: Vec<&'a str>,
    /// The sets: label, and a value for each column.
    pub sets: Vec<(String, Vec<&'a Jackknife>)>,
    /// The ranks of the sets, for each column.
    pub ranks: Vec<Vec<f64>>,
}

/// Two measures compared on the same sets.
#[derive(Clone, Debug, PartialEq)]
pub struct Agreement<'a> {
    /// Their columns.
    pub columns: [&'a str; 2],
    /// Spearman's correlation; none if all sets are equal in one of them.
    pub correlation: Option<RankCorrelation>,
    /// Pairs of sets.
    pub pairs: usize,
    /// Pairs that each of the two measures distinguishes.
    pub apart: [usize; 2],
    /// Pairs that both distinguish and order alike.
    pub alike: usize,
    /// Pairs that both distinguish but order differently; the set that the first measure calls better
    /// comes first.
    pub opposite: Vec<[&'a str; 2]>,
}

impl<'a> Ranks<'a> {
    /// Ranks the records that have all columns; diverged cells are left out.
    pub fn new(
        columns: &'a [String],
        axes: &[(String, Vec<String>)],
        records: &'a [Record],
    ) -> Self {
        let label = |record: &Record| {
            let varied = axes.iter().filter(|(_, labels)| labels.len() > 1);
            let parts = varied.filter_map(|(axis, _)| Some(named(axis, record.label(axis)?)));
            parts.collect::<Vec<_>>().join(", ")
        };
        let sets: Vec<(String, Vec<&Jackknife>)> = records
            .iter()
            .filter_map(|record| {
                let values = columns.iter().map(|column| record.metrics.get(column));
                Some((label(record), values.collect::<Option<Vec<_>>>()?))
            })
            .collect();
        let ranked = |(k, column): (usize, &String)| {
            let sign = sign(column);
            ranks(&sets.iter().map(|(_, values)| sign * values[k].corrected()).collect::<Vec<_>>())
        };
        let ranks = columns.iter().enumerate().map(ranked).collect();
        Self { columns: columns.iter().map(String::as_str).collect(), sets, ranks }
    }

    /// All pairs of measures, compared.
    pub fn agreements(&self) -> Vec<Agreement<'_>> {
        let all = 0..self.columns.len();
        all.clone().flat_map(|a| all.clone().skip(a + 1).map(move |b| self.compare(a, b))).collect()
    }

    fn compare(&self, a: usize, b: usize) -> Agreement<'_> {
        let signs = [a, b].map(|k| sign(self.columns[k]));
        let of = |k: usize| self.sets.iter().map(|(_, values)| values[k]).collect::<Vec<_>>();
        let mut correlation = rank_correlation(&of(a), &of(b), LEVEL);
        if let Some(found) = correlation.as_mut().filter(|_| signs[0] * signs[1] < 0.0) {
            found.value = -found.value;
            found.interval = found.interval.map(|(low, high)| (-high, -low));
        }
        let mut agreement = Agreement {
            columns: [a, b].map(|k| self.columns[k]),
            correlation,
            pairs: 0,
            apart: [0; 2],
            alike: 0,
            opposite: vec![],
        };
        for (i, (first, left)) in self.sets.iter().enumerate() {
            for (second, right) in &self.sets[i + 1..] {
                let [in_a, in_b] =
                    [(a, signs[0]), (b, signs[1])].map(|(k, sign)| sign * order(left[k], right[k]));
                agreement.pairs += 1;
                agreement.apart[0] += usize::from(in_a != 0.0);
                agreement.apart[1] += usize::from(in_b != 0.0);
                if in_a * in_b > 0.0 {
                    agreement.alike += 1;
                } else if in_a * in_b < 0.0 {
                    let better = if in_a < 0.0 { [first, second] } else { [second, first] };
                    agreement.opposite.push(better.map(String::as_str));
                }
            }
        }
        agreement
    }

    /// The heads of a table of the sets: a value and a rank for each column.
    pub fn heads(&self) -> Vec<String> {
        let columns = self.columns.iter().flat_map(|column| [(*column).to_owned(), "rank".into()]);
        ["set".to_owned()].into_iter().chain(columns).collect()
    }

    /// Its lines, in the order of the first column's ranks.
    pub fn lines(&self) -> Vec<Vec<String>> {
        let mut order: Vec<usize> = (0..self.sets.len()).collect();
        let first = |i: usize| self.ranks.first().map_or(0.0, |ranks| ranks[i]);
        order.sort_by(|&i, &j| first(i).total_cmp(&first(j)));
        let estimate = |value: &Jackknife| Estimate::corrected(value, LEVEL);
        let exponents: Vec<bool> = (0..self.columns.len())
            .map(|k| self.sets.iter().any(|(_, values)| estimate(values[k]).has_exponent()))
            .collect();
        let line = |i: usize| {
            let (label, values) = &self.sets[i];
            let columns = values.iter().zip(&self.ranks).zip(&exponents);
            let cells = columns.flat_map(|((value, ranks), &exponent)| {
                [estimate(value).print(exponent), ranks[i].to_string()]
            });
            [label.clone()].into_iter().chain(cells).collect()
        };
        order.into_iter().map(line).collect()
    }

    /// The table and the comparisons as Markdown.
    pub fn markdown(&self) -> String {
        let mut out = markdown_table(&self.heads(), &self.lines());
        let _ = writeln!(out, "\n{}\n", self.caption());
        for agreement in self.agreements() {
            let _ = writeln!(out, "- {}", agreement.sentence());
        }
        out
    }

    /// The comparisons for a terminal.
    pub fn terminal(&self) -> String {
        self.agreements().iter().fold(String::new(), |out, agreement| {
            format!("{out}{:10} {}\n", "ranks", agreement.sentence())
        })
    }

    /// The note below the table of the sets.
    pub fn caption(&self) -> String {
        format!(
            "Ranks: {} sets by their bias-corrected values, the best first, with {} % jackknife \
             intervals. Spearman's rho, with the {} % interval of a bootstrap of the jackknife's \
             blocks, which all sets share; the sets themselves are taken as they are. Two sets are \
             told apart by the interval of their paired difference, each comparison by itself.",
            self.sets.len(),
            100.0 * LEVEL,
            100.0 * LEVEL
        )
    }

    /// `ranks.csv`: a line for each set, and of each column the bias-corrected value and the rank.
    pub fn csv(&self) -> Vec<u8> {
        let columns =
            self.columns.iter().flat_map(|c| [format!("{c}.corrected"), format!("{c}.rank")]);
        let header: Vec<String> = ["set".to_owned()].into_iter().chain(columns).collect();
        let lines = self.sets.iter().enumerate().map(|(i, (label, values))| {
            let cells = values
                .iter()
                .zip(&self.ranks)
                .flat_map(|(value, ranks)| [float(value.corrected()), ranks[i].to_string()]);
            [label.clone()].into_iter().chain(cells).collect()
        });
        csv_bytes(&header, lines)
    }

    /// `rank-correlations.csv`: a line for every two columns.
    pub fn correlations_csv(&self) -> Vec<u8> {
        #[rustfmt::skip]
        let header = [
            "column", "other", "sets", "spearman", "low", "high", "pairs", "apart", "other_apart",
            "alike", "opposite",
        ];
        let agreements = self.agreements();
        let lines = agreements.iter().map(|agreement| {
            let found = agreement.correlation;
            let interval = found.and_then(|found| found.interval);
            let [first, second] = agreement.columns.map(str::to_owned);
            let rho = [found.map(|f| f.value), interval.map(|i| i.0), interval.map(|i| i.1)];
            let Agreement { pairs, apart, alike, ref opposite, .. } = *agreement;
            let counts = [pairs, apart[0], apart[1], alike, opposite.len()];
            let mut line = vec![first, second, self.sets.len().to_string()];
            line.extend(rho.map(|x| x.map_or_else(String::new, float)));
            line.extend(counts.map(|count| count.to_string()));
            line
        });
        csv_bytes(&header.map(String::from), lines)
    }
}

/// Minus one for a score, since higher is better.
fn sign(column: &str) -> f64 {
    if is_score(column) { -1.0 } else { 1.0 }
}

/// -1 where the first is lower beyond the uncertainty of the difference, 1 where it is higher.
fn order(first: &Jackknife, second: &Jackknife) -> f64 {
    let Ok(difference) = first.minus(second) else { return 0.0 };
    let (low, high) = difference.interval(LEVEL);
    if high < 0.0 {
        -1.0
    } else if low > 0.0 {
        1.0
    } else {
        0.0
    }
}

impl Agreement<'_> {
    /// The comparison in words, with its numbers.
    pub fn sentence(&self) -> String {
        let Self { columns: [a, b], correlation, pairs, apart, alike, opposite } = self;
        let rho = correlation.map_or_else(
            || "not defined".to_owned(),
            |RankCorrelation { value, interval }| three_decimals(Estimate { value, interval }),
        );
        let against: Vec<String> =
            opposite.iter().map(|[x, y]| format!("`{x}` before `{y}`")).collect();
        let against = match against.as_slice() {
            [] => "none is ordered differently".to_owned(),
            [one] => format!("1 is ordered differently ({a}: {one})"),
            more => format!("{} are ordered differently ({a}: {})", more.len(), more.join("; ")),
        };
        format!(
            "{a} and {b}: rho = {rho}. Of {pairs} pairs of sets {a} tells {} apart and {b} {}, both \
             {}: {alike} in the same order; {against}.",
            apart[0],
            apart[1],
            alike + opposite.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::results::record::Status;

    /// A set whose two measures are means of four groups; the noise is common to all sets.
    fn record(label: &str, fd: f64, score: f64) -> Record {
        let mean = |value: f64| {
            let noise = [0.3, -0.1, -0.4, 0.2];
            Jackknife { value, leave_out: noise.map(|x| value + x / 3.0).to_vec() }
        };
        Record {
            key: label.to_owned(),
            status: Status::Done,
            params: vec![("grid.steps".to_owned(), label.to_owned())],
            steps: 1,
            levels: 1,
            calls: 1,
            n: 4,
            metrics: BTreeMap::from([
                ("FD-a".to_owned(), mean(fd)),
                ("IS-a".to_owned(), mean(score)),
            ]),
        }
    }

    #[test]
    fn a_score_is_best_where_it_is_highest() {
        let columns = ["FD-a", "IS-a"].map(String::from);
        let axes = [("grid.steps".to_owned(), ["5", "10", "20"].map(String::from).to_vec())];
        let mut records =
            [record("5", 9.0, 1.0), record("10", 4.0, 3.0), record("20", 2.0, 2.0)].to_vec();
        records.push(Record { metrics: BTreeMap::new(), ..record("50", 0.0, 0.0) });
        let ranks = Ranks::new(&columns, &axes, &records);
        assert_eq!(ranks.ranks, [[3.0, 2.0, 1.0], [3.0, 1.0, 2.0]]);
        let text = ranks.markdown();
        assert!(text.starts_with("| set | FD-a | rank | IS-a | rank |\n"), "{text}");
        assert!(text.contains("| steps = 20 | 2.0"), "{text}");
        assert!(
            text.contains(
                "- FD-a and IS-a: rho = 0.500 [0.500, 0.500]. Of 3 pairs of sets FD-a tells 3 apart \
                 and IS-a 3, both 3: 2 in the same order; 1 is ordered differently (FD-a: \
                 `steps = 20` before `steps = 10`)."
            ),
            "{text}"
        );
        let csv = String::from_utf8(ranks.correlations_csv()).unwrap();
        assert!(csv.ends_with("FD-a,IS-a,3,0.5,0.5,0.5,3,3,3,2,1\n"), "{csv}");
        let csv = String::from_utf8(ranks.csv()).unwrap();
        assert!(csv.contains("\nsteps = 10,4.0,2,3.0,1\n"), "{csv}");
    }
}
