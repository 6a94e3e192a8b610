//! Points on the noise axis.
