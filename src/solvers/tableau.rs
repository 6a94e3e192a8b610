//! Runge-Kutta methods of three stages and more.

use crate::core::{Result, State};

/// The stages after the first as Butcher's tableau, for slopes of x-bar in sigma:
///
/// $$k_i = \epsilon\Big(\bar x + h \sum_{j<i} a_{ij}\,k_j,\; \sigma + c_i h\Big)$$
///
/// # References
/// Butcher, *Coefficients for the Study of Runge-Kutta Integration Processes*, Journal of the
/// Australian Mathematical Society 3 (1963), 185-201.
pub(super) struct Tableau {
    /// $c_i$: where a stage lies in the step.
    pub nodes: &'static [f64],
    /// $a_{ij}$: the factors of the earlier slopes in a stage.
    pub rows: &'static [&'static [f64]],
}

impl Tableau {
    /// The slopes of the stages after the first, whose slope is given.
    ///
    /// `ask` gets $c_i$ and the pairs $(h\,a_{ij}, k_j)$ that x-bar is to be moved by, and returns
    /// the slope there.
    ///
    /// # Errors
    /// Whatever `ask` returns.
    pub fn slopes<S: State>(
        &self,
        h: f64,
        first: &S,
        mut ask: impl FnMut(f64, &[(f64, &S)]) -> Result<S>,
    ) -> Result<Vec<S>> {
        let mut later = vec![];
        for (&node, row) in self.nodes.iter().zip(self.rows) {
            let slopes = std::iter::once(first).chain(&later);
            let moves = row.iter().zip(slopes).filter(|(a, _)| **a != 0.0);
            let moves: Vec<(f64, &S)> = moves.map(|(a, k)| (h * a, k)).collect();
            let slope = ask(node, &moves)?;
            later.push(slope);
        }
        Ok(later)
    }
}
