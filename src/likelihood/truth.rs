//! The likelihood of data whose distribution is known.

use std::f64::consts::TAU;

use crate::{exact::Component, metrics::Normal};

/// $\log p(x)$ of one sample, in nats.
pub fn log_density(components: &[Component], x: &[f64]) -> f64 {
    of(components, x, |normal, x| {
        let off = x - normal.mean;
        -0.5 * (off * off * (-normal.log_variance).exp() + normal.log_variance + TAU.ln())
    })
}

/// $\log P$ of one sample of bytes on [-1, 1], in nats: the mass of its bins.
pub fn log_mass(components: &[Component], x: &[f64]) -> f64 {
    of(components, x, Normal::log_mass)
}

/// $\log \sum_k w_k \exp \sum_i l(x_i)$ with l of each value under its component.
fn of(components: &[Component], x: &[f64], log: impl Fn(Normal, f64) -> f64) -> f64 {
    let total: f64 = components.iter().map(|component| component.weight).sum();
    let logs: Vec<f64> = components
        .iter()
        .map(|Component { weight, mean, std }| {
            let values = x.iter().zip(mean.iter().cycle());
            let values =
                values.map(|(&x, &mean)| log(Normal { mean, log_variance: 2.0 * std.ln() }, x));
            (weight / total).ln() + values.sum::<f64>()
        })
        .collect();
    let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    largest + logs.iter().map(|log| (log - largest).exp()).sum::<f64>().ln()
}
