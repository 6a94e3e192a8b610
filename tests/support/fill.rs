//! Tensors that any language can rebuild bit for bit, by name: the inputs of the golden values.

/// `len` numbers in [-1, 1) from splitmix64, seeded by the FNV-1a hash of the name.
pub fn unit(name: &str, len: usize) -> Vec<f64> {
    let seed = name
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3));
    (1..=len as u64)
        .map(|i| {
            let mut z = seed.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
            2.0 * ((z >> 11) as f64 * 2_f64.powi(-53)) - 1.0
        })
        .collect()
}

/// `len` standard normals by Box-Muller from `unit(name/u1)` and `unit(name/u2)`.
pub fn normal(name: &str, len: usize) -> Vec<f64> {
    let u1 = unit(&format!("{name}/u1"), len);
    let u2 = unit(&format!("{name}/u2"), len);
    u1.iter()
        .zip(&u2)
        .map(|(a, b)| {
            let (a, b) = (f64::midpoint(*a, 1.0), f64::midpoint(*b, 1.0));
            (-2.0 * (1.0 - a).ln()).sqrt() * (2.0 * std::f64::consts::PI * b).cos()
        })
        .collect()
}

/// The weight tensor of that name (in the official convention) and shape.
///
/// Rank 2 and more: `v sqrt(3 / fan_in)`; `running_var`: `1 + |v| / 2`; `running_mean` and `bias`:
/// `v / 10`; any other vector: `1 + v / 10`.
pub fn fill(name: &str, shape: &[i64]) -> Vec<f64> {
    let len =
        usize::try_from(shape.iter().product::<i64>()).expect("invariant: sides are positive");
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
