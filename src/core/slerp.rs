//! Interpolation along an arc, whose points between two latents are latents.

use crate::core::{Error, Result};

/// The point at `alpha` on the arc from `a` to `b`.
///
/// $$z = \frac{\sin((1-\alpha)\theta)}{\sin\theta}\,a + \frac{\sin(\alpha\theta)}{\sin\theta}\,b,
/// \qquad \theta = \arccos\frac{\langle a, b\rangle}{\lVert a\rVert\,\lVert b\rVert}$$
///
/// The vectors are whole tensors, flattened. Parallel ones have no angle between them and give the
/// formula's limit, the straight line. The angle is taken from the sum and the difference of the
/// unit vectors, which is exact where the arc's cosine is near 1 or -1.
///
/// # Errors
/// An `alpha` outside [0, 1], or vectors of different lengths, without a direction, or opposite to each
/// other, so that the arc is not unique.
///
/// # References
/// Song, Meng, Ermon, ICLR 2021, Eq. (67); Shoemake, *Animating Rotation with Quaternion Curves*,
/// SIGGRAPH 1985. Kahan, *How Futile are Mindless Assessments of Roundoff in Floating-Point
/// Computation?*, 2006, for the angle.
pub fn slerp(a: &[f64], b: &[f64], alpha: f64) -> Result<Vec<f64>> {
    let fail = |problem: String| Err(Error::Slerp(problem));
    if !(0.0..=1.0).contains(&alpha) {
        return fail(format!("alpha = {alpha} lies outside [0, 1]"));
    }
    if a.len() != b.len() {
        return fail(format!("the ends have {} and {} elements", a.len(), b.len()));
    }
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|v| v * v).sum::<f64>().sqrt();
    let (length_a, length_b) = (norm(&mut a.iter().copied()), norm(&mut b.iter().copied()));
    if !(length_a > 0.0 && length_b > 0.0 && length_a.is_finite() && length_b.is_finite()) {
        return fail(format!("ends of norm {length_a} and {length_b} have no angle between them"));
    }
    let units = || a.iter().zip(b).map(|(a, b)| (a / length_a, b / length_b));
    let apart = norm(&mut units().map(|(a, b)| a - b));
    let together = norm(&mut units().map(|(a, b)| a + b));
    if together < f64::EPSILON.sqrt() {
        return fail("the ends are opposite, so the arc between them is not unique".into());
    }
    let theta = 2.0 * apart.atan2(together);
    let (from_a, from_b) = if theta < f64::EPSILON.sqrt() {
        (1.0 - alpha, alpha)
    } else {
        (((1.0 - alpha) * theta).sin() / theta.sin(), (alpha * theta).sin() / theta.sin())
    };
    Ok(a.iter().zip(b).map(|(a, b)| from_a * a + from_b * b).collect())
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;

    const A: [f64; 4] = [1.0, -2.0, 0.5, 3.0];
    const B: [f64; 4] = [-0.3, 1.0, 2.0, 0.7];

    #[test]
    fn the_ends_are_the_ends() {
        assert_abs_diff_eq!(slerp(&A, &B, 0.0).unwrap()[..], A[..], epsilon = 1e-15);
        assert_abs_diff_eq!(slerp(&A, &B, 1.0).unwrap()[..], B[..], epsilon = 1e-15);
        let back: Vec<_> = slerp(&B, &A, 0.7).unwrap();
        assert_abs_diff_eq!(slerp(&A, &B, 0.3).unwrap()[..], back[..], epsilon = 1e-15);
    }

    #[test]
    fn it_is_the_papers_formula() {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let theta = (dot(&A, &B) / (dot(&A, &A) * dot(&B, &B)).sqrt()).acos();
        for alpha in [0.1, 0.5, 0.9_f64] {
            let z = slerp(&A, &B, alpha).unwrap();
            let factors = [((1.0 - alpha) * theta).sin(), (alpha * theta).sin()];
            for ((z, a), b) in z.iter().zip(A).zip(B) {
                let expected = (factors[0] * a + factors[1] * b) / theta.sin();
                assert_abs_diff_eq!(*z, expected, epsilon = 1e-14);
            }
        }
    }

    #[test]
    fn orthogonal_ends_of_one_norm_keep_it_and_the_arc_is_even() {
        let (a, b) = ([3.0, 0.0, 4.0], [-4.0, 0.0, 3.0]);
        for i in 0..=8 {
            let alpha = f64::from(i) / 8.0;
            let z = slerp(&a, &b, alpha).unwrap();
            let norm = z.iter().map(|v| v * v).sum::<f64>().sqrt();
            assert_abs_diff_eq!(norm, 5.0, epsilon = 1e-14);
            let cosine = z.iter().zip(a).map(|(z, a)| z * a).sum::<f64>() / 25.0;
            let angle = alpha * std::f64::consts::FRAC_PI_2;
            assert_abs_diff_eq!(cosine, angle.cos(), epsilon = 1e-14);
        }
    }

    #[test]
    fn parallel_ends_give_the_straight_line_and_nearly_parallel_ones_come_close() {
        let twice = A.map(|v| 2.0 * v);
        let z = slerp(&A, &twice, 0.25).unwrap();
        assert_abs_diff_eq!(z[..], A.map(|v| 1.25 * v)[..], epsilon = 1e-14);
        for tilt in [1e-12, 1e-8, 1e-6] {
            let near = [twice[0], twice[1] + tilt, twice[2], twice[3] - tilt];
            let z = slerp(&A, &near, 0.25).unwrap();
            let line: Vec<f64> = A.iter().zip(near).map(|(a, b)| 0.75 * a + 0.25 * b).collect();
            assert_abs_diff_eq!(z[..], line[..], epsilon = 1e-10);
        }
    }

    #[test]
    fn what_has_no_arc_is_refused() {
        let refuse = |a: &[f64], b: &[f64], alpha| slerp(a, b, alpha).unwrap_err().to_string();
        let opposite = A.map(|v| -0.5 * v);
        assert!(refuse(&A, &opposite, 0.5).contains("opposite"));
        assert!(refuse(&A, &[0.0; 4], 0.5).contains("norm"));
        assert!(refuse(&A, &[f64::NAN; 4], 0.5).contains("norm"));
        assert!(refuse(&A, &B[..3], 0.5).contains("4 and 3 elements"));
        for alpha in [-0.1, 1.1, f64::NAN] {
            assert!(refuse(&A, &B, alpha).contains("outside [0, 1]"));
        }
    }
}
