//! jackknife
