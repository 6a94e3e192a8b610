//! variance
