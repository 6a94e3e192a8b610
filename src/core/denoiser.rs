//! What predicts the noise at a level, and its adapters.
