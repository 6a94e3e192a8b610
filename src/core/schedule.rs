//! From labels to noise levels.
