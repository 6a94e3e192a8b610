//! The variational objective of a model, and the weighted errors of eps that it equals up to a constant.

use crate::metrics::measure::{Best, Measure, Of};

const TASK: &str = "objective";

/// $J_\sigma$ of Song, Meng, Ermon 2021, Eq. (11), or one of its terms.
pub static OBJECTIVE: Measure = Measure {
    name: "objective",
    task: TASK,
    of: Of::MEAN,
    best: Best::Low,
    about: "J_sigma, Eq. (11): both log-densities at one draw of the noising process",
    unit: "J_sigma, nats per value",
};

/// $L_\gamma$ of Eq. (5) at the same draw.
pub static OBJECTIVE_LOSS: Measure = Measure {
    name: "objective-loss",
    task: TASK,
    of: Of::MEAN,
    best: Best::Low,
    about: "L_gamma, Eq. (5): mean squared errors of eps, weighted by gamma, at the same draw",
    unit: "L_gamma per value; with gamma = 1 a squared error, else nats",
};

/// $J_\sigma - L_\gamma$, which Theorem 1 says no model changes.
pub static OBJECTIVE_GAP: Measure = Measure {
    name: "objective-gap",
    task: TASK,
    of: Of::MEAN,
    best: Best::Right,
    about: "J_sigma less L_gamma: the constant of Theorem 1, with exact weights",
    unit: "J_sigma - L_gamma, nats per value",
};

/// $L_\gamma$ beyond that of the data's own score.
pub static OBJECTIVE_EXCESS: Measure = Measure {
    name: "objective-excess",
    task: TASK,
    of: Of::MEAN,
    best: Best::Low,
    about: "L_gamma beyond the least that any model has, that of the data's own score",
    unit: "L_gamma beyond its least value, per value",
};

/// What was drawn of $J_\sigma$ less its closed form.
pub static OBJECTIVE_OFF: Measure = Measure {
    name: "objective-off",
    task: TASK,
    of: Of::MEAN,
    best: Best::Right,
    about: "J_sigma less its closed form, of a linear model on a Gaussian: 0 but for chance",
    unit: "J_sigma less its closed form, nats per value",
};

/// What was drawn of $L_\gamma$ less its closed form.
pub static OBJECTIVE_LOSS_OFF: Measure = Measure {
    name: "objective-loss-off",
    task: TASK,
    of: Of::MEAN,
    best: Best::Right,
    about: "the same of L_gamma",
    unit: "L_gamma less its closed form, per value",
};

/// The weights.
pub static OBJECTIVE_GAMMA: Measure = Measure {
    name: "objective-gamma",
    task: TASK,
    of: Of::MEAN,
    best: Best::Right,
    about: "gamma_t of one term, or the sum of all",
    unit: "gamma",
};
