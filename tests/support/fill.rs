//! Pseudo-random tensors that any language rebuilds bit for bit from a name.
//!
//! Element `i` of the tensor `name`: seed = FNV-1a-64(name), `z = seed + (i + 1) * 0x9E3779B97F4A7C15`
//! through the finaliser of `SplitMix64` (all modulo 2^64), `v = 2 (z >> 11) 2^-53 - 1` in [-1, 1).
//! The golden files of `tests/golden` were computed with inputs and weights built by this rule,
//! so that no large file has to travel with the tests.

/// Values in [-1, 1), exact in f64.
pub fn unit(name: &str, len: usize) -> Vec<f64> {
    let seed = name.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    let mut z = seed;
    (0..len)
        .map(|_| {
            z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut y = z;
            y = (y ^ (y >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            y = (y ^ (y >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            y ^= y >> 31;
            2.0 * ((y >> 11) as f64 * (-53_f64).exp2()) - 1.0
        })
        .collect()
}

/// Standard normals: Box-Muller on `unit(name/u1)` and `unit(name/u2)`.
pub fn normal(name: &str, len: usize) -> Vec<f64> {
    let u1 = unit(&format!("{name}/u1"), len);
    let u2 = unit(&format!("{name}/u2"), len);
    u1.iter()
        .zip(&u2)
        .map(|(u1, u2)| {
            let (u1, u2) = (u1.midpoint(1.0), u2.midpoint(1.0));
            (-2.0 * (1.0 - u1).ln()).sqrt() * (2.0 * std::f64::consts::PI * u2).cos()
        })
        .collect()
}

/// The weight tensor of that name (in the official convention) and shape.
///
/// Rank 2 and more: `v sqrt(3 / fan_in)`; `running_var`: `1 + |v| / 2`; `running_mean` and `bias`:
/// `v / 10`; any other vector: `1 + v / 10`.
pub fn fill(name: &str, shape: &[i64]) -> Vec<f64> {
    let len = usize::try_from(shape.iter().product::<i64>()).unwrap();
    let v = unit(name, len);
    let rule: Box<dyn Fn(f64) -> f64> = if shape.len() >= 2 {
        let fan_in = shape[1..].iter().product::<i64>() as f64;
        let scale = (3.0 / fan_in).sqrt();
        Box::new(move |v| v * scale)
    } else if name.ends_with("running_var") {
        Box::new(|v| 1.0 + 0.5 * v.abs())
    } else if name.ends_with("running_mean") || name.ends_with("bias") {
        Box::new(|v| 0.1 * v)
    } else {
        Box::new(|v| 1.0 + 0.1 * v)
    };
    v.into_iter().map(rule).collect()
}
