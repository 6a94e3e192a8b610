//! What the multistep methods share: nodes, weights, and a linear combination.
//!
//! Each method interpolates its predictions at the levels it has passed by a polynomial in its own
//! clock, and integrates that over the step: `nodes` on its clock,
//! [`weights`] for its [`moment`]s, and [`combine`].

use crate::core::{Result, State};

/// $a\,x + g \sum_j w_j\,y_j$, with one value for each weight.
///
/// # Errors
/// Whatever the tensor library returns.
pub(super) fn combine<S: State>(
    (a, x): (f64, &S),
    gain: f64,
    weights: &[f64],
    values: &[&S],
) -> Result<S> {
    let mut terms = vec![(a, x)];
    terms.extend(weights.iter().zip(values).map(|(w, &y)| (gain * w, y)));
    S::lincomb(&terms)
}

/// The weights $w_j$ with $\sum_j w_j r_j^k = m_k$ for $k = 0 .. n-1$: the interpolating polynomial
/// through values at the nodes $r_j$, integrated against the weight function with the moments $m_k$.
///
/// The nodes must be distinct. Cost: $n^2$ operations; n is at most 4 here.
///
/// # References
/// Björck, Pereyra, *Solution of Vandermonde Systems of Equations*, Mathematics of Computation 24
/// (1970), 893-903 (the primal system).
pub(super) fn weights(nodes: &[f64], moments: impl Fn(usize) -> f64) -> Vec<f64> {
    let n = nodes.len();
    let mut w: Vec<f64> = (0..n).map(moments).collect();
    for (k, node) in nodes.iter().enumerate() {
        for i in (k + 1..n).rev() {
            w[i] -= node * w[i - 1];
        }
    }
    for k in (0..n.saturating_sub(1)).rev() {
        for i in k + 1..n {
            w[i] /= nodes[i] - nodes[i - k - 1];
        }
        for i in k..n - 1 {
            w[i] -= w[i + 1];
        }
    }
    w
}

/// $\int_0^1 e^{z(1-v)}\,v^k\,\mathrm dv = k!\,\varphi_{k+1}(z)$: the k-th moment of the weight that
/// an exponential integrator puts on its step. At z = 0 it is $1/(k+1)$, that of [`plain`]
/// integration.
///
/// # References
/// Hochbruck, Ostermann, *Exponential integrators*, Acta Numerica 19 (2010), section 2.
pub(super) fn moment(z: f64, k: usize) -> f64 {
    if z.abs() < 1.0 {
        // sum_n z^n k! / (k + 1 + n)!: the recursion below cancels where z is small.
        let mut term = 1.0 / (k + 1) as f64;
        let mut sum = term;
        for n in 1..24 {
            term *= z / (k + 1 + n) as f64;
            sum += term;
        }
        return sum;
    }
    (1..=k).fold(z.exp_m1() / z, |below, j| (j as f64 * below - 1.0) / z) // phi_{k+1} = (phi_k - 1/k!) / z
}

/// $\int_0^1 v^k\,\mathrm dv$, the moments of plain integration.
pub(super) fn plain(k: usize) -> f64 {
    moment(0.0, k)
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::{moment, plain, weights};

    #[test]
    fn weights_are_those_of_the_textbooks() {
        let hold = |nodes: &[f64], expected: &[f64]| {
            for (w, e) in weights(nodes, plain).iter().zip(expected) {
                assert_relative_eq!(*w, *e, max_relative = 1e-14);
            }
        };
        hold(&[0.0], &[1.0]);
        hold(&[0.0, 1.0], &[0.5, 0.5]); // trapezoid
        hold(&[0.0, -1.0], &[1.5, -0.5]); // Adams-Bashforth
        hold(&[0.0, -1.0, -2.0], &[23.0, -16.0, 5.0].map(|w| w / 12.0));
        hold(&[0.0, -1.0, -2.0, -3.0], &[55.0, -59.0, 37.0, -9.0].map(|w| w / 24.0));
        hold(&[0.0, 0.5, 1.0], &[1.0, 4.0, 1.0].map(|w| w / 6.0)); // Simpson
    }

    #[test]
    fn moments_are_their_integrals_on_both_sides_of_the_switch() {
        for z in [-9.0, -1.5, -1.0, -0.999, -0.1, 1e-6, 0.5, 1.0, 4.0_f64] {
            for k in 0..4 {
                // Simpson's rule on 2000 intervals.
                let f = |v: f64| (z * (1.0 - v)).exp() * v.powi(k);
                let n = 2000;
                let sum: f64 = (0..=n)
                    .map(|i| {
                        let weight =
                            if i == 0 || i == n { 1.0 } else { f64::from(2 + 2 * (i % 2)) };
                        weight * f(f64::from(i) / f64::from(n))
                    })
                    .sum();
                let integral = sum / (3.0 * f64::from(n));
                let k = usize::try_from(k).unwrap();
                assert_relative_eq!(moment(z, k), integral, max_relative = 1e-11);
            }
        }
    }
}
