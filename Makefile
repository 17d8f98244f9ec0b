# What a person does with this checkout. Every target first brings what the machine lacks (scripts/setup).

SHELL := /bin/bash
export PATH := $(CURDIR)/.tools/venv/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup build cuda demo test bench bench-cuda budget gpu-kit gpu-check gpu-rehearsal clean \
	simulate-setup simulate-test simulate-jets muons-sample study-jets study-vae study-muons study-classification study-papers pretrained

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

setup: ## install what is missing: C compiler, CMake, numpy and h5py
	@scripts/setup

build: setup ## build target/release/sarm, its debug information beside it
	cargo build --release --locked
	@scripts/strip target/release/sarm

cuda: setup ## build it with CUDA; brings nvcc into .cuda where the machine has none
	@scripts/cuda-toolkit
	cargo build --release --locked --features cuda
	@scripts/strip target/release/sarm

demo: build ## train on the shipped jets, generate, evaluate; prints where the report is
	@scripts/demo

test: setup ## run every test
	cargo test --locked

bench: setup ## run the criterion benches; numbers land in target/criterion
	cargo bench --locked

bench-cuda: cuda ## the same on a card: kernels, then training
	cargo bench --locked --features cuda --bench kernels
	target/release/sarm bench --device cuda

budget: setup ## accept what the kernels now take of registers and shared memory: writes kernels/budget.csv
	@scripts/cuda-toolkit
	SARM_BUDGET=write cargo test --locked --features cuda --test cuda budget::

gpu-kit: setup ## pack all that scripts/gpu-check needs into target/gpu-kit.tar.gz
	@scripts/cuda-toolkit
	@scripts/gpu-kit

gpu-check: gpu-kit ## on a machine with a card: kernel tests, sanitizers, comparison with the CPU, benches; within 25 minutes (docs/gpu-day.md)
	@scripts/gpu-check target/gpu-kit

gpu-rehearsal: setup ## every phase of gpu-check on tiny shapes, without a card: the driver is imitated, kernels are emulated
	@scripts/cuda-toolkit
	@scripts/gpu-rehearsal

simulate-setup: setup ## bring Pythia 8 and FastJet and build tools/simulate (13 CPU-minutes)
	@tools/simulate/setup

simulate-test: simulate-setup ## simulate a few thousand images for real; check facts, resuming, independence of processes
	@tools/simulate/check

simulate-jets: simulate-setup ## simulate 10 000 jets like the shipped ones into runs/simulate/jets.h5; COUNT, SEED, IMAGE change that
	@mkdir -p runs/simulate
	tools/simulate/simulate jets --count $(or $(COUNT),10000) --seed $(or $(SEED),1) --image $(or $(IMAGE),rebinned) --out runs/simulate/jets.h5 --resume

muons-sample: simulate-setup ## make data/muons-sample.h5 anew
	tools/simulate/simulate muons --count 2000 --seed 1 --layout sparse --out data/muons-sample.h5 --force

JETS_CONFIGS = configs/jets.toml,configs/paper/jets-dc.toml,configs/paper/jets-dd.toml
VAE_CONFIGS = configs/jets-vae.toml,configs/jets-sparse-vae.toml,configs/jets-total-vae.toml
MUONS_CONFIGS = configs/paper/muons-dc.toml,configs/muons.toml
STUDY = scripts/study fidelity --count $(or $(COUNT),50000) $(if $(EPOCHS),--epochs $(EPOCHS)) $(STUDY_OPTIONS)

study-jets: build ## train, judge, write docs/studies/jets.md (hours); TRAIN=, TEST= name the data, EPOCHS=, CONFIGS= shorten it
	$(STUDY) --truth-train $(or $(TRAIN),runs/simulate/jets-train.h5) --truth-test $(or $(TEST),runs/simulate/jets-test.h5) \
		$(if $(CONFIGS),--configs $(CONFIGS),--configs $(JETS_CONFIGS) --variants scripts/studies/jets-unconditioned.toml) \
		--out runs/study-jets --page docs/studies/jets.md

# Models, data and place of both pages on VAEs.
STUDY_VAE = --truth-train $(or $(TRAIN),runs/simulate/jets-train.h5) --truth-test $(or $(TEST),runs/simulate/jets-test.h5) \
		$(if $(MODELS),--models $(MODELS),--configs $(or $(CONFIGS),$(VAE_CONFIGS))) --out runs/study-vae

study-vae: build ## the jet VAEs: docs/studies/vae.md, vae-latents.md; MODELS=NAME=FILE,.. takes models that are there, of SARMs too
	$(STUDY) $(STUDY_VAE) --title "Jets: variational autoencoders" --page docs/studies/vae.md
	scripts/study latents $(if $(COUNT),--count $(COUNT)) $(if $(EPOCHS),--epochs $(EPOCHS)) $(STUDY_OPTIONS) $(STUDY_VAE) --page docs/studies/vae-latents.md

study-classification: build ## what a classifier learns from generated jets, tested on truth: docs/studies/classification.md; of study-jets' models
	$(STUDY:fidelity=classification) --truth-train $(or $(TRAIN),runs/simulate/jets-train.h5) --truth-test $(or $(TEST),runs/simulate/jets-test.h5) \
		$(if $(MODELS),--models $(MODELS),--configs $(or $(CONFIGS),$(JETS_CONFIGS))) \
		--out runs/study-jets --page docs/studies/classification.md

# Reports of the other studies, where they are of the same true images, are rows of this page too.
study-papers: build ## both papers' tables beside ours: docs/studies/papers.md; of MODELS=, IMAGES=, SPEEDS=, TRAININGS= (NAME=FILE,..) and the reports of the studies above
	$(STUDY:fidelity=papers) --truth-train $(or $(TRAIN),runs/simulate/jets-train.h5) --truth-test $(or $(TEST),runs/simulate/jets-test.h5) \
		$(if $(MUONS_TRAIN),--muons-train $(MUONS_TRAIN)) $(if $(MUONS_TEST),--muons-test $(MUONS_TEST)) \
		$(if $(CONFIGS),--configs $(CONFIGS)) $(if $(MODELS),--models $(MODELS)) $(if $(IMAGES),--images $(IMAGES)) \
		$(if $(SPEEDS),--speeds $(SPEEDS)) $(if $(TRAININGS),--trainings $(TRAININGS)) \
		$(addprefix --reports ,$(or $(REPORTS),$(wildcard runs/study-jets runs/study-vae runs/study-muons))) \
		--out runs/study-papers --page docs/studies/papers.md

pretrained: build ## make a model that comes with the program anew, KIND=jets or muons; TRAIN=, TEST= name the data
	scripts/pretrain $(or $(KIND),jets) $(or $(TRAIN),runs/simulate/$(or $(KIND),jets)-train.h5) $(or $(TEST),runs/simulate/$(or $(KIND),jets)-test.h5)

study-muons: build ## the same for muons: docs/studies/muons.md
	$(STUDY) --truth-train $(or $(TRAIN),runs/simulate/muons-train.h5) --truth-test $(or $(TEST),runs/simulate/muons-test.h5) \
		--configs $(or $(CONFIGS),$(MUONS_CONFIGS)) \
		--range 0.4 --out runs/study-muons --page docs/studies/muons.md

clean: ## remove everything that was built or installed here, and the demo's output
	rm -rf target .tools .cuda runs/demo tools/simulate/.build
