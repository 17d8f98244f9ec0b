# What a person does with this checkout. Every target first brings what the machine lacks (scripts/setup).

SHELL := /bin/bash
export PATH := $(CURDIR)/.tools/venv/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup build demo test bench clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s %s\n", $$1, $$2 }' Makefile

setup: ## install what is missing: C compiler, CMake, numpy and h5py
	@scripts/setup

build: setup ## build target/release/sarm
	cargo build --release --locked

demo: build ## train on the shipped jets, generate, evaluate; prints where the report is
	@scripts/demo

test: setup ## run every test
	cargo test --locked

bench: setup ## run the criterion benches; numbers land in target/criterion
	cargo bench --locked

clean: ## remove everything that was built or installed here, and the demo's output
	rm -rf target .tools runs/demo
