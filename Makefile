# What a person or CI runs. Everything works in a fresh clone: what a target needs and the machine lacks is installed
# first (.ci/install.sh), from Debian's packages and the Rust registry; what tests alone need also from npm and PyPI.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo build release test test-long bench bench-proxies fuzz lint clean

# How long each fuzz target runs.
FUZZ_SECONDS ?= 60
export FUZZ_SECONDS

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | \
		while IFS='|' read -r target text; do printf '  %-18s  %s\n' "$$target" "$$text"; done

demo: ## a running gateway in front of a live API, with keys and curl lines to try; Ctrl-C ends it
	@.ci/install.sh build
	@[ -x target/debug/keygate ] || echo "The first build compiles every dependency: some minutes." >&2
	cargo run --locked -- demo

build: ## the program for development: target/debug/keygate
	@.ci/install.sh build
	cargo build --locked

release: ## the program for use: target/release/keygate (whole-program optimisation: many minutes)
	@.ci/install.sh build
	cargo build --release --locked

test: ## every test, on the real binary
	@.ci/install.sh test
	.ci/test.sh

test-long: export KEYGATE_TEST_LONG = 1
# Optimised a little, as the dependencies are: what these tests time is what a user has.
test-long: export CARGO_PROFILE_DEV_OPT_LEVEL = 1
test-long: ## the same with large counts and sizes
	@.ci/install.sh test
	.ci/test.sh

bench: ## micro benchmarks, then keygate beside other proxies under the same load
	@.ci/install.sh build
	KEYGATE_BENCH_KEYS=10000000 cargo bench --locked --bench '*'
	$(MAKE) bench-proxies

bench-proxies: ## the second half of it; BENCH="--columns get,missing --only nginx,…" for less (run.py --help)
	@.ci/install.sh build
	cargo build --release --locked --bin keygate --example make_keys --example bare_pingora
	benches/e2e/prepare.sh
	python3 benches/e2e/run.py $(BENCH)
	python3 benches/e2e/instructions.py $(BENCH)

fuzz: ## each fuzz target for FUZZ_SECONDS (60)
	@.ci/install.sh fuzz
	.ci/fuzz.sh

lint: ## formatting, clippy, documentation, and what no compiler checks
	@.ci/install.sh build
	cargo fmt --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	.ci/check-tree.sh
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

clean: ## removes everything that was built
	cargo clean
	rm -rf fuzz/target fuzz/artifacts fuzz/Cargo.lock
