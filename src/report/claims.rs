//! Judges the sentences of a paper on what was measured.
//!
//! A claim is a set of pairwise comparisons between cells of one table: `lowest` compares its row
//! with every other row in each of its columns, `below` with one of them, `decreases` each of its
//! columns with the next. The
//! cells share their noise block by block, so a comparison is the *paired* difference of the
//! bias-corrected values ([`Jackknife::minus`]) with its interval, which is far narrower than the
//! intervals of the two cells suggest.
//!
//! - *holds*: every difference has its 95 % interval strictly on the claimed side. All of them must
//!   be, so no correction for their number is needed (an intersection-union test).
//! - *fails*: some difference is significantly on the other side, at 95 % after Bonferroni's
//!   correction for the number of comparisons. One is enough, whatever else has not been run.
//! - *not run*: otherwise, if a cell that is needed has not been measured.
//! - *undecided*: otherwise; the differences are within the uncertainty.
//!
//! `order` compares nothing: it fits the row's order of convergence over its columns
//! ([`log_log_slope`]) and holds if the order's 95 % interval lies between two numbers, and fails if
//! it lies outside. Where the points bend beyond their uncertainty ([`log_log_bend`]), the reason
//! has the local orders at both ends: the order was fitted before its asymptotic range, or beyond
//! it.
//!
//! A diverged cell counts as worse (higher; of a score, lower) than every measured one, without
//! uncertainty; two diverged cells cannot be told apart.

use std::collections::BTreeSet;
use std::fmt;

use crate::metrics::{Jackknife, log_log_bend, log_log_slope};

use crate::plan::measures::is_score;
use crate::plan::presentation::{Against, ClaimCheck, ClaimSpec};
use crate::results::record::{Estimate, LEVEL, Record, Status};

/// Records laid out by the labels of two axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Cross<'a> {
    /// The axis whose labels are the rows.
    pub row_axis: &'a str,
    /// The axis whose labels are the columns.
    pub column_axis: &'a str,
    /// The metric that is compared.
    pub metric: &'a str,
    /// What orders are fitted against, if they are.
    pub fit: Option<Against>,
    /// Labels of all rows, measured or not.
    pub rows: Vec<String>,
    /// Labels of all columns, measured or not.
    pub columns: Vec<String>,
    /// What has been measured.
    pub records: Vec<&'a Record>,
}

/// What stands at one place of a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Entry<'a> {
    /// Nothing has been measured.
    NotRun,
    /// The cell diverged.
    Diverged,
    /// The cell's metric.
    Measured(&'a Jackknife),
}

impl<'a> Cross<'a> {
    /// What stands at a row and a column.
    pub fn entry(&self, row: &str, column: &str) -> Entry<'a> {
        match self.record(row, column) {
            None => Entry::NotRun,
            Some(record) if record.status == Status::Diverged => Entry::Diverged,
            Some(record) => record.metrics.get(self.metric).map_or(Entry::NotRun, Entry::Measured),
        }
    }

    /// The record at a row and a column, if the cell was run.
    pub fn record(&self, row: &str, column: &str) -> Option<&'a Record> {
        let is_here = |record: &&&Record| {
            record.label(self.row_axis) == Some(row)
                && record.label(self.column_axis) == Some(column)
        };
        self.records.iter().find(is_here).copied()
    }

    /// The order with which a row falls over some columns: minus its slope on logarithmic axes.
    ///
    /// None where nothing is fitted, a cell has not been measured, or there is no such slope.
    pub fn order(&self, row: &str, columns: &[String]) -> Option<Jackknife> {
        let slope = log_log_slope(&self.points(row, columns)?).ok()?;
        let leave_out = slope.leave_out.iter().map(|slope| -slope).collect();
        Some(Jackknife { value: -slope.value, leave_out })
    }

    /// The local orders at the lowest and the highest place, where the points bend beyond their
    /// uncertainty, as far as two decimals show: then a single order depends on which columns it was
    /// fitted over.
    pub fn bend(&self, row: &str, columns: &[String]) -> Option<[f64; 2]> {
        let bend = log_log_bend(&self.points(row, columns)?).ok()?;
        let (low, high) = Estimate::at_n(&bend.curvature).interval?;
        let ends = bend.ends.map(|slope| -slope);
        let is_seen = hundredths(ends[0]).total_cmp(&hundredths(ends[1])).is_ne();
        ((low > 0.0 || high < 0.0) && is_seen).then_some(ends)
    }

    /// What an order is fitted to; none where nothing is, or a cell has not been measured.
    fn points(&self, row: &str, columns: &[String]) -> Option<Vec<(f64, &'a Jackknife)>> {
        let fit = self.fit?;
        let point = |column: &String| match (self.entry(row, column), self.record(row, column)) {
            (Entry::Measured(metric), Some(record)) => Some(match fit {
                Against::Calls => (record.calls as f64, metric),
                Against::S => (record.steps as f64, metric),
            }),
            _ => None,
        };
        columns.iter().map(point).collect()
    }
}

/// The outcome for a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every comparison is on the claimed side, beyond its uncertainty.
    Holds,
    /// Some comparison is on the other side, beyond its uncertainty.
    Fails,
    /// Within the uncertainty.
    Undecided,
    /// A cell that is needed has not been measured.
    NotRun,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Holds => "holds",
            Self::Fails => "fails",
            Self::Undecided => "undecided",
            Self::NotRun => "not run",
        })
    }
}

/// A place in the table, by its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Label of the row.
    pub row: String,
    /// Label of the column.
    pub column: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` at {}", self.row, self.column)
    }
}

/// One comparison of a claim, which says that `higher` minus `lower` is positive.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The place that the claim says is higher.
    pub higher: Place,
    /// The place that the claim says is lower.
    pub lower: Place,
    /// The comparison's outcome.
    pub difference: Difference,
    /// What a diverged cell counts as: infinitely bad.
    worst: f64,
}

/// `higher` minus `lower` of a [`Pair`].
#[derive(Clone, Debug, PartialEq)]
pub enum Difference {
    /// The place named has not been measured.
    NotRun(Place),
    /// The place named diverged and the other did not.
    OneDiverged(Place),
    /// Both diverged.
    BothDiverged,
    /// At least one of the two has no uncertainty, or their groups are not the same.
    NotPaired,
    /// The jackknife of the difference.
    Measured(Jackknife),
}

/// A claim, judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The claim.
    pub claim: ClaimSpec,
    /// The outcome.
    pub verdict: Verdict,
    /// Every comparison.
    pub pairs: Vec<Pair>,
    /// Index in `pairs` of the one that decided, or came nearest to deciding otherwise.
    pub decisive: Option<usize>,
    /// One line that says why, with the numbers of the decisive comparison.
    pub reason: String,
}

/// Judges a claim on a table.
pub fn judge(claim: &ClaimSpec, cross: &Cross) -> Judgement {
    if let (ClaimCheck::Order, Some(between)) = (claim.check, claim.between) {
        let (verdict, reason) = judge_order(claim, between, cross);
        return Judgement { claim: claim.clone(), verdict, pairs: vec![], decisive: None, reason };
    }
    let pairs = pairs(claim, cross);
    let (verdict, decisive, reason) = decide(claim, &pairs);
    Judgement { claim: claim.clone(), verdict, pairs, decisive, reason }
}

fn judge_order(claim: &ClaimSpec, [least, most]: [f64; 2], cross: &Cross) -> (Verdict, String) {
    let row = &claim.row;
    for column in &claim.columns {
        let place = Place { row: row.clone(), column: column.clone() };
        match cross.entry(row, column) {
            Entry::NotRun => return (Verdict::NotRun, format!("{place} was not run")),
            Entry::Diverged => return (Verdict::Fails, format!("{place} diverged")),
            Entry::Measured(_) => {}
        }
    }
    let Some(order) = cross.order(row, &claim.columns) else {
        return (Verdict::NotRun, format!("`{row}` has no order: a value is not positive"));
    };
    // At N, like the values it is fitted to.
    let Estimate { value, interval } = Estimate::at_n(&order);
    let (low, high) = interval.unwrap_or((value, value));
    let verdict = if least <= low && high <= most {
        Verdict::Holds
    } else if high < least || most < low {
        Verdict::Fails
    } else {
        Verdict::Undecided
    };
    let over = claim.columns.join(", ");
    let order = print_order(Estimate::at_n(&order));
    let bend = cross.bend(row, &claim.columns).map_or_else(String::new, |bend| {
        format!("; its points bend, from a local order of {}", print_bend(bend))
    });
    let asked = format!("asked for {least} to {most}");
    (verdict, format!("the order of `{row}` over {over} is {order}, {asked}{bend}"))
}

/// Rounded to what is printed, zero without a sign.
fn hundredths(x: f64) -> f64 {
    (100.0 * x).round() / 100.0 + 0.0
}

/// Two local orders, of the lowest place and of the highest.
pub(crate) fn print_bend([first, last]: [f64; 2]) -> String {
    let [first, last] = [first, last].map(hundredths);
    format!("{first:.2} to {last:.2}")
}

/// An order with its interval: the third decimal says more than a fit over a few points knows.
pub(crate) fn print_order(Estimate { value, interval }: Estimate) -> String {
    match interval {
        Some((low, high)) => format!("{value:.3} [{low:.3}, {high:.3}]"),
        None => format!("{value:.3}"),
    }
}

fn pairs(claim: &ClaimSpec, cross: &Cross) -> Vec<Pair> {
    let place = |row: &str, column: &str| Place { row: row.into(), column: column.into() };
    let worst = if is_score(cross.metric) { f64::NEG_INFINITY } else { f64::INFINITY };
    let pair = |higher: Place, lower: Place| Pair {
        worst,
        difference: difference(cross, &higher, &lower),
        higher,
        lower,
    };
    match claim.check {
        ClaimCheck::Decreases => {
            let at = |column: &String| place(&claim.row, column);
            claim.columns.windows(2).map(|two| pair(at(&two[0]), at(&two[1]))).collect()
        }
        ClaimCheck::Below => {
            let other = claim.other.as_deref().unwrap_or_default();
            let at = |column: &String| pair(place(other, column), place(&claim.row, column));
            claim.columns.iter().map(at).collect()
        }
        ClaimCheck::Order => vec![],
        ClaimCheck::Lowest | ClaimCheck::Highest => {
            let mut pairs = Vec::new();
            for column in &claim.columns {
                for row in cross.rows.iter().filter(|row| **row != claim.row) {
                    let (own, other) = (place(&claim.row, column), place(row, column));
                    pairs.push(match claim.check {
                        ClaimCheck::Highest => pair(own, other),
                        _ => pair(other, own),
                    });
                }
            }
            pairs
        }
    }
}

/// The difference of two places, `higher` minus `lower`.
pub(crate) fn difference(cross: &Cross, higher: &Place, lower: &Place) -> Difference {
    let entry = |place: &Place| cross.entry(&place.row, &place.column);
    match (entry(higher), entry(lower)) {
        (Entry::NotRun, _) => Difference::NotRun(higher.clone()),
        (_, Entry::NotRun) => Difference::NotRun(lower.clone()),
        (Entry::Diverged, Entry::Diverged) => Difference::BothDiverged,
        (Entry::Diverged, _) => Difference::OneDiverged(higher.clone()),
        (_, Entry::Diverged) => Difference::OneDiverged(lower.clone()),
        (Entry::Measured(a), Entry::Measured(b)) => match a.minus(b) {
            Ok(difference) if difference.leave_out.len() > 1 => Difference::Measured(difference),
            _ => Difference::NotPaired,
        },
    }
}

impl Pair {
    /// How far the comparison is on the claimed side, in standard errors.
    fn margin(&self) -> f64 {
        match &self.difference {
            Difference::Measured(metric) => {
                let (value, error) = (metric.corrected(), metric.standard_error());
                // Equal cells have neither a difference nor an error of it.
                if value == 0.0 { 0.0 } else { value / error }
            }
            Difference::OneDiverged(place) if *place == self.higher => self.worst,
            Difference::OneDiverged(_) => -self.worst,
            _ => 0.0,
        }
    }

    /// The difference's interval, a diverged cell being infinitely bad.
    fn interval(&self, level: f64) -> Option<(f64, f64)> {
        match &self.difference {
            Difference::Measured(metric) => Some(metric.interval(level)),
            Difference::OneDiverged(_) => Some((self.margin(), self.margin())),
            _ => None,
        }
    }

    /// The comparison with its numbers.
    fn describe(&self, level: f64) -> String {
        let Self { higher, lower, difference, .. } = self;
        match difference {
            Difference::Measured(metric) => {
                let estimate = Estimate::corrected(metric, level);
                format!("{higher} minus {lower} is {estimate}")
            }
            Difference::OneDiverged(place) => {
                let other = if place == higher { lower } else { higher };
                format!("{place} diverged and {other} did not")
            }
            Difference::BothDiverged => format!("{higher} and {lower} both diverged"),
            Difference::NotPaired => {
                format!("{higher} and {lower} have no uncertainty in common")
            }
            Difference::NotRun(place) => format!("{place} was not run"),
        }
    }
}

fn decide(claim: &ClaimSpec, pairs: &[Pair]) -> (Verdict, Option<usize>, String) {
    let by_margin = |a: &&usize, b: &&usize| pairs[**a].margin().total_cmp(&pairs[**b].margin());
    let all: Vec<usize> = (0..pairs.len()).collect();
    let above = |i: &usize| pairs[*i].interval(LEVEL).is_some_and(|(low, _)| low > 0.0);

    let corrected = 1.0 - (1.0 - LEVEL) / pairs.len().max(1) as f64;
    let below = |i: &&usize| pairs[**i].interval(corrected).is_some_and(|(_, high)| high < 0.0);
    if let Some(&i) = all.iter().filter(below).min_by(by_margin) {
        let why = pairs[i].describe(corrected);
        let level = format!("{:.2}", 100.0 * corrected);
        let level = level.trim_end_matches('0').trim_end_matches('.');
        let reason = match pairs[i].difference {
            Difference::Measured(_) => format!("{why} ({level} % interval)"),
            _ => why,
        };
        return (Verdict::Fails, Some(i), reason);
    }

    let missing: Vec<&Pair> =
        pairs.iter().filter(|pair| matches!(pair.difference, Difference::NotRun(_))).collect();
    if let Some(first) = missing.first() {
        let places: BTreeSet<String> = missing.iter().map(|pair| pair.describe(LEVEL)).collect();
        let more = match places.len() - 1 {
            0 => String::new(),
            1 => ", nor was 1 more cell".to_owned(),
            n => format!(", nor were {n} more cells"),
        };
        let i = pairs.iter().position(|pair| std::ptr::eq(pair, *first));
        return (Verdict::NotRun, i, format!("{}{more}", first.describe(LEVEL)));
    }

    let Some(&closest) = all.iter().min_by(by_margin) else {
        let reason = format!("`{}` has nothing to be compared with", claim.row);
        return (Verdict::NotRun, None, reason);
    };
    let why = pairs[closest].describe(LEVEL);
    let decided = all.iter().filter(|i| above(i)).count();
    if decided == pairs.len() {
        let reason = match decided {
            1 => why,
            2 => format!("both differences are positive; the closer: {why}"),
            n => format!("all {n} differences are positive; the closest: {why}"),
        };
        return (Verdict::Holds, Some(closest), reason);
    }
    let open = all.iter().filter(|i| !above(i)).min_by(by_margin).copied().unwrap_or(closest);
    let why = pairs[open].describe(LEVEL);
    let reason = match pairs.len() {
        1 => why,
        n => format!("{why}; {decided} of {n} differences are beyond their uncertainty"),
    };
    (Verdict::Undecided, Some(open), reason)
}
