# A newcomer types two of these: `make demo` and `make test`.

CARGO ?= cargo

.DEFAULT_GOAL := help
.PHONY: help demo demo-reset test lint bench torture setup setup-packages

help: ## what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# Variables given to make (DEMO_EXIT=1, BIRDHOUSE_PORT=7182) are in the demo's environment too.
demo: setup-packages ## the whole tour: server, Kafka, events, endpoints; DEMO_EXIT=1 ends by itself
	@echo "Building the release binaries"
	@$(CARGO) build --release --quiet --package birdhouse --package data-generator
	@scripts/setup engine target/release/birdhouse
	@scripts/setup broker
	@python3 demo/demo.py

demo-reset: ## forgets everything that the demo has stored
	@python3 demo/demo.py --reset

test: setup ## every test, on the real engine and a real broker
	$(CARGO) test --workspace
	SCHEMATHESIS_SECONDS=180 $(CARGO) test --quiet --test it schemathesis::

lint: setup-packages ## formatting and Clippy, without a warning
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

bench: setup ## measures against the raw engine; writes target/bench.json
	@scripts/setup bench
	$(CARGO) bench --bench bench
	$(CARGO) bench --bench load
	$(CARGO) bench --bench ingest

ROUNDS ?= 10
FUZZ_CASES ?= 300000
SOAK_HOURS ?= 8
torture: setup ## the tests that stop, kill and restart things, ROUNDS=10 times over, minutes of odd datafiles, SOAK_HOURS=8 of mixed load
	FUZZ_CASES=$(FUZZ_CASES) $(CARGO) test --quiet --test it language::
	BIRDHOUSE_TORTURE=1 $(CARGO) test --quiet --test it -- once:: memory:: remote::kills faults:: kafka::trouble
	DECODE_ROUNDS=200 $(CARGO) test --quiet --test it values_become_what_the_engine_reads
	for round in $$(seq $(ROUNDS)); do echo "round $$round of $(ROUNDS)"; $(CARGO) test --quiet --test it kafka || exit 1; \
		SCAN_SEED=$$round SCAN_ROUNDS=100000 MARKER_ROUNDS=20000 $(CARGO) test --quiet --test it -- \
			security:: sql::the_engine_sees || exit 1; done
	SCHEMATHESIS_SECONDS=3600 $(CARGO) test --quiet --test it schemathesis::
	SOAK_HOURS=$(SOAK_HOURS) $(CARGO) test --release --quiet --test it soak::
	TORTURE_CASES=$$(($(ROUNDS) * 2000)) $(CARGO) test --release --test it template_safety

setup: setup-packages ## installs what building and testing need, and only what is missing
	@$(CARGO) build --quiet --package birdhouse --package data-generator
	@scripts/setup engine target/debug/birdhouse
	@scripts/setup broker
	@scripts/setup checks
	@scripts/setup clients

setup-packages:
	@scripts/setup packages
