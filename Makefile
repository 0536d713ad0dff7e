# Each target says in one line what it does; `make help` prints them. Everything that starts real
# parts needs root: containers, mounts and network namespaces are real.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The toolchain is pinned in rust-toolchain.toml; rustup's cargo may not be on a plain PATH.
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/local/go/bin

need = command -v $(1) >/dev/null || { echo "make: $(1) is not installed: $(2)" >&2; exit 1; }
cargo = $(call need,cargo,install Rust with rustup; rust-toolchain.toml names the version)
root = [ "$$(id -u)" = 0 ] || { echo "make: $@ starts real containers and needs root; run it as root" >&2; exit 1; }

.PHONY: help parts parts-e2e demo test lint e2e record-kubelet bench fuzz libfuzzer drift

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

parts: ## Install what is missing from Debian (containerd, runc, CNI plugins, registry, image tools) and make the test images
	@$(cargo)
	@tools/parts.sh debian images

parts-e2e: parts ## Build containerd 2.x, a kubelet and an API server from their Go modules, and fetch etcd, once per machine
	@tools/parts.sh containerd2 kubelet apiserver etcd

demo: ## Show a real containerd, a registry and the guard: what is allowed, pinned and denied, with which text
	@$(root)
	@$(MAKE) --no-print-directory parts
	cargo build --locked --quiet --bin pullguard
	cargo run --locked --quiet --example demo

test: ## Run every test but the end-to-end suites
	@$(root)
	@$(cargo)
	@$(call need,go,a suite compares the reference parser with the Go package that containerd uses; put Go on PATH)
	@$(MAKE) --no-print-directory parts
	cargo test --locked --no-fail-fast

e2e: ## Run the end-to-end suites: containerd 2.x, a real kubelet with static pods, and a one-node cluster
	@$(root)
	@$(cargo)
	@$(call need,go,containerd 2.x, the kubelet and the API server are built from their Go modules; put Go on PATH)
	@$(MAKE) --no-print-directory parts-e2e
	cargo test --locked --no-fail-fast --features e2e --test 'e2e_*' -- --test-threads=2

record-kubelet: ## Record what a real kubelet sends for static pods into tests/recorded, for its version
	@$(root)
	@$(MAKE) --no-print-directory parts-e2e
	RECORD=1 cargo test --locked --features e2e --test e2e_record

lint: ## Check format, clippy, and the dependencies' bans, licences and sources
	@$(cargo)
	@tools/parts.sh debian
	cargo fmt --all --check
	cargo clippy --locked --all-targets --all-features -- -D warnings
	@tools/parts.sh cargo-deny
	"$$(tools/parts.sh where | sed -n 's/^cargo_deny=//p')" --locked check bans licenses sources

bench: ## Measure what the guard costs, beside a plain splice, and what a decision costs by itself
	@$(cargo)
	cargo bench --locked --bench decide
	cargo bench --locked --bench relay

FUZZ_SECONDS ?= 20
fuzz: ## Fuzz every target, each for FUZZ_SECONDS (20); FUZZ_SEED picks other inputs
	@$(cargo)
	FUZZ_SECONDS=$(FUZZ_SECONDS) cargo test --locked --test fuzz -- --nocapture no_input_of_any_target

libfuzzer: ## The same targets under libFuzzer, led by coverage; needs a nightly toolchain
	@$(cargo)
	@cargo +nightly --version >/dev/null 2>&1 || { echo "make: libFuzzer needs a nightly toolchain: rustup toolchain install nightly" >&2; exit 1; }
	@tools/parts.sh cargo-fuzz
	@export RUSTUP_TOOLCHAIN=nightly; fuzz="$$(tools/parts.sh where | sed -n 's/^cargo_fuzz=//p')"; \
	"$$fuzz" build; \
	for target in $$("$$fuzz" list); do \
	  echo "== $$target"; mkdir -p "fuzz/corpus/$$target"; \
	  "$$fuzz" run "$$target" "fuzz/corpus/$$target" "fuzz/seeds/$$target" -- -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=2048 -timeout=10 -print_final_stats=0 -verbosity=1; \
	done

drift: ## Compare proto/ with the CRI that the newest k8s.io/cri-api and 0.31 register
	@$(call need,go,put Go on PATH)
	tools/cri-drift/run.sh
