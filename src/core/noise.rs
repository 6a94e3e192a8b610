//! Noise as a pure function of (seed, sample, draw).
