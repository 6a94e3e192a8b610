# `make table1` and `make test` do all the set-up a fresh machine needs.
# After either, plain `cargo run --release -- ...`, `cargo test` and `cargo bench` work as they are.

CARGO ?= cargo

.PHONY: table1 test slurm library setup cuda build check bench compare fuzz

# The committed results are somebody else's measurement: the first call on a machine measures
# afresh, later ones go on from what this machine has finished.
table1: build                 ## measure Table 1 of the paper on the embedded weights
	@fresh=; [ -e target/table1.begun ] || fresh=--fresh; touch target/table1.begun; \
	echo "./target/release/ddim run experiments/table1.toml $$fresh"; \
	./target/release/ddim run experiments/table1.toml $$fresh

test: library setup           ## all tests, in release: networks are slow without it
	$(CARGO) test --release --locked

slurm: build                  ## eight shards on a real Slurm, started for it as root
	tests/slurm/eight-shards

library:                      ## tests of the library without its harness: no LibTorch needed
	$(CARGO) test --locked --no-default-features
	$(CARGO) test --locked --manifest-path tests/outside/Cargo.toml --target-dir target/outside

build: setup
	$(CARGO) build --release --locked

setup:                        ## LibTorch 2.11.0 into .libtorch/, unless LIBTORCH is set
	scripts/setup-libtorch

cuda:                         ## and the CUDA libraries for --device cuda
	scripts/setup-libtorch --cuda

# The last one documents the whole crate as docs.rs does: with no LibTorch.
check: setup                  ## format, lints and docs, with the harness and without
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path tests/outside/Cargo.toml
	$(CARGO) fmt --check --manifest-path fuzz/Cargo.toml
	$(CARGO) clippy --release --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --all-targets --no-default-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --no-default-features
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --locked --no-deps --no-default-features --features doc-only

bench: setup                  ## run every bench, and print the comparison
	$(CARGO) bench --locked --benches
	scripts/bench-table

# One target of fuzz/, by cargo-fuzz on stable Rust: `ls fuzz/fuzz_targets`.
TARGET ?= manifest
SECONDS ?= 60
fuzz: setup                   ## look for bytes that break a reader: make fuzz TARGET=pickle SECONDS=1800
	$(CARGO) fuzz run -s none $(TARGET) -- -max_total_time=$(SECONDS) -timeout=10 -rss_limit_mb=2048 -max_len=8192

# PYTHON has torch, numpy and diffusers; COMPARE="--device cuda --compiled" measures a GPU.
PYTHON ?= python3
compare: build                ## image-calls a second beside diffusers, in turns
	scripts/compare-diffusers $(PYTHON) $(COMPARE)
