//! What it costs to code an image by a model, in bits for each of its bytes.

use crate::metrics::measure::{Best, Measure, Of};

const TASK: &str = "bits";

/// The whole cost: the variational bound of a method that draws noise, the likelihood of the ODE of
/// one that draws none.
pub static BITS: Measure = Measure {
    name: "bits",
    task: TASK,
    of: Of::MEAN,
    best: Best::Low,
    about: "bits per dimension: the variational bound, or the likelihood of the ODE",
    unit: "bits per dimension",
};

/// The bound's term of x_T.
pub static BITS_PRIOR: Measure = Measure {
    name: "bits-prior",
    task: TASK,
    of: Of::MEAN,
    best: Best::Low,
    about: "of the bound, the term of x_T, which no model changes",
    unit: "bits per dimension, the term of x_T",
};

/// The bound's terms between the two ends.
pub static BITS_STEPS: Measure = Measure {
    name: "bits-steps",
    task: TASK,
    of: Of::MEAN,
    best: Best::Low,
    about: "of the bound, the terms of all steps but the last",
    unit: "bits per dimension, the terms of all steps but the last",
};

/// The bound's term of the last step.
pub static BITS_DECODER: Measure = Measure {
    name: "bits-decoder",
    task: TASK,
    of: Of::MEAN,
    best: Best::Low,
    about: "of the bound, the term of the last step, which ends in bytes",
    unit: "bits per dimension, the term of the last step",
};

/// The cost beyond that of the data's own distribution, where it is known.
pub static BITS_GAP: Measure = Measure {
    name: "bits-gap",
    task: TASK,
    of: Of::MEAN,
    best: Best::Right,
    about: "bits per dimension beyond those of the data's own distribution",
    unit: "bits per dimension beyond the truth",
};
