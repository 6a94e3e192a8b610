//! The delete-a-group jackknife: bias, standard error and paired differences of any statistic.

/// A statistic on all samples, and without each of B disjoint groups of samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Jackknife {
    /// The plug-in value on all samples.
    pub value: f64,
    /// The value without group b, b = 0 .. B.
    pub leave_out: Vec<f64>,
}
