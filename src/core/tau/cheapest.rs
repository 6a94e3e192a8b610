//! The cheapest grid among candidate levels.

/// The cheapest way from the first of some points to the last in exactly `steps` steps forward, and its
/// cost; none if there are too few points.
///
/// $$V_k(j) = \min_{i < j}\,V_{k-1}(i) + c_{ij}, \qquad V_0(0) = 0$$
///
/// `cost` is that of a step from one point to a later one. Of ways that cost the same, it is the one
/// whose last steps start earliest. Cost: `steps` times the square of the number of points.
///
/// # References
/// Bellman 1957; on local errors of a sampler: Chen, Zhou, Wang, Shen, Lyu, *On the Trajectory
/// Regularity of ODE-based Diffusion Sampling*, ICML 2024, section 5. arXiv:2405.11326.
pub fn cheapest(
    points: usize,
    steps: usize,
    cost: impl Fn(usize, usize) -> f64,
) -> Option<(Vec<usize>, f64)> {
    if steps == 0 || steps >= points {
        return None;
    }
    let mut reached = vec![f64::INFINITY; points];
    reached[0] = 0.0;
    let mut came_from: Vec<Vec<usize>> = vec![];
    for _ in 0..steps {
        let mut next = vec![f64::INFINITY; points];
        let mut from = vec![0; points];
        for j in 1..points {
            for (i, before) in reached.iter().enumerate().take(j) {
                let total = before + cost(i, j);
                if total < next[j] {
                    (next[j], from[j]) = (total, i);
                }
            }
        }
        came_from.push(from);
        reached = next;
    }
    let total = reached[points - 1];
    let mut way = vec![points - 1];
    for from in came_from.iter().rev() {
        way.push(from[way[way.len() - 1]]);
    }
    way.reverse();
    total.is_finite().then_some((way, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every way from 0 to the last point in so many steps.
    fn all(points: usize, steps: usize) -> Vec<Vec<usize>> {
        let inner = points - 2;
        (0_u32..1 << inner)
            .filter(|set| set.count_ones() as usize == steps - 1)
            .map(|set| {
                let between = (0..inner).filter(|i| set >> i & 1 == 1).map(|i| i + 1);
                std::iter::once(0).chain(between).chain([points - 1]).collect()
            })
            .collect()
    }

    #[test]
    fn it_is_the_best_of_all_ways() {
        // Costs without a pattern, so that no two ways are alike.
        let cost = |i: usize, j: usize| ((i * 37 + j * 101) as f64 * 0.7).sin().powi(2) + 0.01;
        for points in 2..=10 {
            for steps in 1..points {
                let (way, total) = cheapest(points, steps, cost).unwrap();
                let of = |way: &[usize]| way.windows(2).map(|w| cost(w[0], w[1])).sum::<f64>();
                assert_eq!(way.len(), steps + 1);
                assert!((of(&way) - total).abs() < 1e-12);
                let best = all(points, steps).iter().map(|way| of(way)).fold(f64::MAX, f64::min);
                assert!((total - best).abs() < 1e-12, "{points} points, {steps} steps: {way:?}");
            }
        }
    }

    #[test]
    fn squares_of_the_lengths_are_least_where_steps_are_even() {
        let square = |i: usize, j: usize| ((j - i) as f64).powi(2);
        assert_eq!(cheapest(13, 4, square), Some((vec![0, 3, 6, 9, 12], 36.0)));
    }

    #[test]
    fn there_is_no_way_of_more_steps_than_gaps_or_of_none() {
        assert_eq!(cheapest(4, 4, |_, _| 1.0), None);
        assert_eq!(cheapest(4, 0, |_, _| 1.0), None);
    }
}
