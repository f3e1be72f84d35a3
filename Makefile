# What the README, CI and people run. Needs Rust, Python 3 and make; everything else is fetched or said.

CARGO  ?= cargo
PYTHON ?= python3

# A nats-server that scripts/nats_server.py fetched comes before an older one of the system.
export PATH := $(CURDIR)/.tools:$(PATH)

.PHONY: help run test check bench fmt tools fuzzer clean

help: ## Show this list
	@grep -E '^[a-z]+:.*## ' Makefile | sed 's/:.*## /	/'

run: tools ## Run the gateway with a broker and a database of its own
	$(CARGO) run --release -p gw -- serve --dev

test: tools fuzzer ## Run all tests; the last line counts them
	@scripts/test.sh

check: ## Formatting, lints, documentation, licences
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny check bans licenses sources; \
	else echo "skipped: cargo deny check (cargo-deny is not installed)"; fi

bench: tools ## Measure the gateway
	$(PYTHON) scripts/bench.py

fmt: ## Format the code
	$(CARGO) fmt --all

tools: ## Make sure that there is a nats-server
	@$(PYTHON) scripts/nats_server.py

fuzzer: ## Make sure that the API can be fuzzed
	@$(PYTHON) scripts/schemathesis.py

clean: ## Remove what was built and fetched; data/ stays
	$(CARGO) clean
	rm -rf .tools
