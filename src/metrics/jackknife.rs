//! The delete-a-group jackknife: bias, standard error and paired differences of any statistic.

/// A statistic on all samples, and without each of B disjoint groups of samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Jackknife {
    /// The plug-in value on all samples.
    pub value: f64,
    /// The value without group b, b = 0 .. B.
    pub leave_out: Vec<f64>,
}

impl Jackknife {
    fn mean(&self) -> f64 {
        self.leave_out.iter().sum::<f64>() / self.leave_out.len() as f64
    }

    /// The value with the first-order bias removed: `B value - (B - 1) mean(leave_out)`.
    pub fn corrected(&self) -> f64 {
        let b = self.leave_out.len() as f64;
        b * self.value - (b - 1.0) * self.mean()
    }

    /// The jackknife's standard error.
    pub fn standard_error(&self) -> f64 {
        let (b, mean) = (self.leave_out.len() as f64, self.mean());
        ((b - 1.0) / b * self.leave_out.iter().map(|v| (v - mean).powi(2)).sum::<f64>()).sqrt()
    }

    /// `corrected` plus and minus Student's t with B - 1 degrees of freedom times the error.
    pub fn interval(&self, level: f64) -> (f64, f64) {
        let half =
            student_quantile(0.5 + 0.5 * level, self.leave_out.len() - 1) * self.standard_error();
        (self.corrected() - half, self.corrected() + half)
    }

    /// The paired difference, group by group.
    ///
    /// # Errors
    /// If the groups are not as many.
    pub fn minus(&self, other: &Self) -> Result<Self, String> {
        if self.leave_out.len() != other.leave_out.len() {
            return Err("the numbers of groups differ".into());
        }
        let leave_out = self.leave_out.iter().zip(&other.leave_out).map(|(a, b)| a - b).collect();
        Ok(Self { value: self.value - other.value, leave_out })
    }
}

fn student_quantile(p: f64, degrees: usize) -> f64 {
    // theta = atan(t / sqrt(v)) has density proportional to cos(theta)^(v - 1).
    let v = degrees as f64;
    let mass = |to: f64| -> f64 {
        let n = 4000;
        let h = to / f64::from(n);
        (0..n).map(|i| ((f64::from(i) + 0.5) * h).cos().powf(v - 1.0) * h).sum()
    };
    let quarter = std::f64::consts::FRAC_PI_2;
    let target = (2.0 * p - 1.0) * mass(quarter);
    let (mut low, mut high) = (0.0, quarter);
    for _ in 0..60 {
        let mid = 0.5 * (low + high);
        if mass(mid) < target { low = mid } else { high = mid }
    }
    low.tan() * v.sqrt()
}
