# `make table1` and `make test` do all the set-up a fresh machine needs.
# After either, plain `cargo run --release -- ...`, `cargo test` and `cargo bench` work as they are.

CARGO ?= cargo

