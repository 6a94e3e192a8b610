//! Judges claims, such as sentences of a paper, on what was measured.
//!
//! A claim is a set of pairwise comparisons between cells of one table: `lowest` compares its row
//! with every other row in each of its columns, `below` with one other row, and `decreases` each of
//! its columns with the next. A comparison is the paired difference of `compare::difference`: the cells
//! share their noise block by block, so its interval is far narrower than the intervals of the two
//! cells suggest.
//!
//! - *holds*: every difference has its 95 % interval strictly on the claimed side. All of them must
//!   be, so no correction for their number is needed (an intersection-union test).
//! - *fails*: some difference is significantly on the other side, at 95 % after Bonferroni's
//!   correction for the number of comparisons. One is enough, whatever else has not been run.
//! - *not run*: otherwise, if a cell that is needed has not been measured.
//! - *undecided*: otherwise; the differences are within the uncertainty.
//!
//! `order` compares nothing: it fits the row's order of convergence over its columns
//! ([`Cross::order`]). It holds if the order's 95 % interval lies between the two numbers of the
//! claim, and fails if it lies outside. If the points bend by more than their uncertainty
//! ([`Cross::bend`]), the reason gives the local orders at both ends: the columns then go beyond the
//! range in which the row has one order.
//!
//! `between` asks of every column whether the row's value, or its paired difference from another row, lies
//! between two numbers: it holds if all 95 % intervals do, and fails if one lies outside after Bonferroni's
//! correction. That two rows are the same can be decided only so, to within what is stated.
//!
//! A diverged cell counts as worse (higher; of a score, lower) than every measured one, without
//! uncertainty; two diverged cells cannot be told apart.

use std::collections::BTreeSet;
use std::fmt;

use crate::metrics::Jackknife;
use crate::plan::measures::is_score;
use crate::plan::presentation::{ClaimCheck, ClaimSpec};
use crate::report::compare::{Difference, Place, difference};
use crate::report::cross::{Cross, Entry, print_bend};
use crate::report::text::three_decimals;
use crate::results::record::{Estimate, LEVEL};

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

/// A claim, judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The claim.
    pub claim: ClaimSpec,
    /// The outcome.
    pub verdict: Verdict,
    /// The reason in one line, with the numbers of the comparison that decided or was closest to.
    pub reason: String,
}

impl Judgement {
    /// The mark of a claim that was written after a first look.
    pub(crate) fn mark(&self) -> &'static str {
        if self.claim.descriptive { " (descriptive)" } else { "" }
    }
}

/// The sentence above judged claims.
pub(crate) fn head<'j>(judgements: impl IntoIterator<Item = &'j Judgement>) -> String {
    let what = if judgements.into_iter().any(|judgement| judgement.claim.descriptive) {
        "; a descriptive claim was written after a first look at results: it sums up, and tests \
         nothing"
    } else {
        ""
    };
    format!(
        "Claims, judged on paired differences of the bias-corrected values ({} % intervals; \
         diverged counts as worse than everything{what}):",
        100.0 * LEVEL
    )
}

/// Judges a claim on a table.
pub fn judge(claim: &ClaimSpec, cross: &Cross) -> Judgement {
    let (verdict, reason) = match (claim.check, claim.between) {
        (ClaimCheck::Order, Some(between)) => judge_order(claim, between, cross),
        (ClaimCheck::Between, Some(between)) => judge_between(claim, between, cross),
        _ => judge_pairs(claim, &pairs(claim, cross)),
    };
    Judgement { claim: claim.clone(), verdict, reason }
}

fn judge_order(claim: &ClaimSpec, [least, most]: [f64; 2], cross: &Cross) -> (Verdict, String) {
    let row = &claim.row;
    for column in &claim.columns {
        let place = Place::new(row, column);
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
    let order = three_decimals(Estimate::at_n(&order));
    let bend = cross.bend(row, &claim.columns).map_or_else(String::new, |bend| {
        format!("; its points bend, from a local order of {}", print_bend(bend))
    });
    let asked = format!("asked for {least} to {most}");
    (verdict, format!("the order of `{row}` over {over} is {order}, {asked}{bend}"))
}

/// Judges whether what a claim is about lies between two numbers in each of its columns.
fn judge_between(claim: &ClaimSpec, [least, most]: [f64; 2], cross: &Cross) -> (Verdict, String) {
    let at = |column: &String| {
        let own = Place::new(&claim.row, column);
        let Some(other) = &claim.other else { return (own.to_string(), value(cross, &own)) };
        let other = Place::new(other, column);
        (format!("{own} minus {other}"), difference(cross, &own, &other))
    };
    let found: Vec<(String, Difference)> = claim.columns.iter().map(at).collect();
    let corrected = 1.0 - (1.0 - LEVEL) / found.len().max(1) as f64;
    // How far an interval keeps from the nearer of the two numbers; negative if it reaches beyond.
    let room = |metric: &Jackknife| {
        let (low, high) = metric.interval(LEVEL);
        (low - least).min(most - high)
    };
    let is_outside = |metric: &Jackknife| {
        let (low, high) = metric.interval(corrected);
        high < least || most < low
    };
    let (mut measured, mut open, mut missing, mut diverged) = (vec![], None, None, None);
    for (what, found) in &found {
        match found {
            Difference::Measured(metric) => measured.push((what, metric)),
            Difference::NotRun(place) => missing = missing.or(Some(format!("{place} was not run"))),
            Difference::OneDiverged(place) => diverged = Some(format!("{place} diverged")),
            Difference::BothDiverged => open = Some(format!("{what}: both diverged")),
            Difference::NotPaired => open = Some(format!("{what} has no uncertainty")),
        }
    }
    measured.sort_by(|(_, a), (_, b)| room(a).total_cmp(&room(b)));
    let describe = |(what, metric): &(&String, &Jackknife)| {
        let estimate = Estimate::corrected(metric, LEVEL);
        format!("{what} is {estimate}, asked for {least} to {most}")
    };
    if let Some(outside) = measured.iter().find(|(_, metric)| is_outside(metric)) {
        return (Verdict::Fails, describe(outside));
    }
    let unmeasured =
        [(diverged, Verdict::Fails), (missing, Verdict::NotRun), (open, Verdict::Undecided)];
    if let Some((Some(why), verdict)) = unmeasured.into_iter().find(|(why, _)| why.is_some()) {
        return (verdict, why);
    }
    let Some(closest) = measured.first() else {
        return (Verdict::NotRun, format!("`{}` has no columns", claim.row));
    };
    let why = match measured.len() {
        1 => describe(closest),
        n => format!("{}; of {n} columns this one leaves the least room", describe(closest)),
    };
    (if room(closest.1) >= 0.0 { Verdict::Holds } else { Verdict::Undecided }, why)
}

/// The value of a place, as the difference from nothing.
fn value(cross: &Cross, place: &Place) -> Difference {
    match cross.entry(place.row(), place.column()) {
        Entry::NotRun => Difference::NotRun(place.clone()),
        Entry::Diverged => Difference::OneDiverged(place.clone()),
        Entry::Measured(metric) if metric.leave_out.len() > 1 => {
            Difference::Measured(metric.clone())
        }
        Entry::Measured(_) => Difference::NotPaired,
    }
}

/// One comparison of a claim, which says that `higher` minus `lower` is positive.
struct Pair {
    /// The place that the claim says is higher.
    higher: Place,
    /// The place that the claim says is lower.
    lower: Place,
    difference: Difference,
    /// What a diverged cell counts as: infinitely bad.
    worst: f64,
}

fn pairs(claim: &ClaimSpec, cross: &Cross) -> Vec<Pair> {
    let worst = if is_score(cross.metric) { f64::NEG_INFINITY } else { f64::INFINITY };
    let pair = |higher: Place, lower: Place| Pair {
        worst,
        difference: difference(cross, &higher, &lower),
        higher,
        lower,
    };
    match claim.check {
        ClaimCheck::Decreases => {
            let at = |column: &String| Place::new(&claim.row, column);
            claim.columns.windows(2).map(|two| pair(at(&two[0]), at(&two[1]))).collect()
        }
        ClaimCheck::Below => {
            let other = claim.other.as_deref().unwrap_or_default();
            let at =
                |column: &String| pair(Place::new(other, column), Place::new(&claim.row, column));
            claim.columns.iter().map(at).collect()
        }
        ClaimCheck::Order | ClaimCheck::Between => vec![],
        ClaimCheck::Lowest | ClaimCheck::Highest => {
            let others = || cross.rows.iter().filter(|row| **row != claim.row);
            let against = |(column, row): (&String, &String)| {
                let (own, other) = (Place::new(&claim.row, column), Place::new(row, column));
                if claim.check == ClaimCheck::Highest { pair(own, other) } else { pair(other, own) }
            };
            let places = claim.columns.iter().flat_map(|c| others().map(move |row| (c, row)));
            places.map(against).collect()
        }
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

fn judge_pairs(claim: &ClaimSpec, pairs: &[Pair]) -> (Verdict, String) {
    let by_margin = |a: &&Pair, b: &&Pair| a.margin().total_cmp(&b.margin());
    let is_above = |pair: &Pair| pair.interval(LEVEL).is_some_and(|(low, _)| low > 0.0);

    let corrected = 1.0 - (1.0 - LEVEL) / pairs.len().max(1) as f64;
    let is_below = |pair: &&Pair| pair.interval(corrected).is_some_and(|(_, high)| high < 0.0);
    if let Some(pair) = pairs.iter().filter(is_below).min_by(by_margin) {
        let why = pair.describe(corrected);
        let level = format!("{:.2}", 100.0 * corrected);
        let level = level.trim_end_matches('0').trim_end_matches('.');
        let reason = match pair.difference {
            Difference::Measured(_) => format!("{why} ({level} % interval)"),
            _ => why,
        };
        return (Verdict::Fails, reason);
    }

    let is_missing = |pair: &&Pair| matches!(pair.difference, Difference::NotRun(_));
    let missing: Vec<String> =
        pairs.iter().filter(is_missing).map(|pair| pair.describe(LEVEL)).collect();
    if let Some(first) = missing.first() {
        let more = match missing.iter().collect::<BTreeSet<_>>().len() - 1 {
            0 => String::new(),
            1 => ", nor was 1 more cell".to_owned(),
            n => format!(", nor were {n} more cells"),
        };
        return (Verdict::NotRun, format!("{first}{more}"));
    }

    let Some(closest) = pairs.iter().min_by(by_margin) else {
        return (Verdict::NotRun, format!("`{}` has nothing to be compared with", claim.row));
    };
    let decided = pairs.iter().filter(|pair| is_above(pair)).count();
    let Some(open) = pairs.iter().filter(|pair| !is_above(pair)).min_by(by_margin) else {
        let why = closest.describe(LEVEL);
        let reason = match decided {
            1 => why,
            2 => format!("both differences are positive; the closer: {why}"),
            n => format!("all {n} differences are positive; the closest: {why}"),
        };
        return (Verdict::Holds, reason);
    };
    let why = open.describe(LEVEL);
    let reason = match pairs.len() {
        1 => why,
        n => format!("{why}; {decided} of {n} differences are beyond their uncertainty"),
    };
    (Verdict::Undecided, reason)
}
