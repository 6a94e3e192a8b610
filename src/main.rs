//! The `ddim` binary.

fn main() {}
