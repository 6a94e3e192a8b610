//! Listed timesteps.

use std::cmp::Ordering::Less;

use super::{Error, Result};

/// The listed timesteps in ascending order; strictly monotone either way.
pub(super) fn checked(timesteps: &[f64], steps: usize) -> Result<Vec<f64>> {
    if timesteps.len() != steps {
        return Err(Error::TauLength { steps, listed: timesteps.len() });
    }
    let mut timesteps = timesteps.to_vec();
    if timesteps.len() > 1 && timesteps[0] > timesteps[1] {
        timesteps.reverse();
    }
    let unordered = timesteps.windows(2).find_map(|pair| match pair {
        [a, b] if a.partial_cmp(b) != Some(Less) => Some((a, b)),
        _ => None,
    });
    if let Some((a, b)) = unordered {
        return Err(Error::Grid(format!(
            "tau lists {a} beside {b}: timesteps must be strictly monotone"
        )));
    }
    if timesteps.first().is_some_and(|&t| t < 0.0) {
        return Err(Error::Grid("tau lists a timestep below 0: timesteps are 0-based".into()));
    }
    Ok(timesteps)
}
