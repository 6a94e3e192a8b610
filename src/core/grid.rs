//! The paper's tau: strictly monotone lists of levels.
