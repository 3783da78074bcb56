# `make help` lists what there is. Everything is set up in .venv on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
UV := $(shell command -v uv || echo .tools/bin/uv)
READY := $(VENV)/.ready
PHANTOM := data/phantom/CheXpert-v1.0-small
TWO_AT_A_TIME := -n 2 --dist loadscope --no-loadscope-reorder
NIH ?= ../shared/nih-cxr/CheXpert-v1.0-small
# Without cached bytecode every start of Ray, torch and timm takes twice as long.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all check nih bench-input bench-kill bench-kill-search bench-cluster bench-step bench-share bench-overhead bench-policies bench-search bench-search-real bench-search-peers bench-verdict bench-feed bench-startup map lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## the environment in .venv, from requirements.lock

demo: $(READY) $(PHANTOM) ## a search on a phantom CheXpert tree, on this machine's CPUs
	$(BIN)/chex-search run configs/search/demo.yaml --data $(PHANTOM) $(SETS)

test: $(READY) ## the tests without the slow ones: 5 minutes on 2 cores
	$(BIN)/pytest $(TWO_AT_A_TIME) -m "not slow"

test-all: $(READY) ## all tests, also on clusters, killed processes and browsers
	$(BIN)/pytest $(TWO_AT_A_TIME)

check: $(READY) ## format, lint, types, import directions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

nih: $(READY) ## a small search on real images, where NIH=<tree> holds them
	$(BIN)/chex-search run configs/search/nih-small.yaml --data $(NIH) $(SETS)

bench-kill: $(READY) ## kills a run 100 times at random moments: about 5 minutes on one core
	PYTHONPATH=. $(BIN)/python tests/bench/kill_run.py 100 0

bench-kill-search: $(READY) ## kills searches KILLS (24) times, the command, trials, Ray, all: about 15 minutes on 2 cores
	PYTHONPATH=. $(BIN)/python tests/bench/kill_search.py $(or $(KILLS),24) $(or $(SEED),0)

bench-cluster: $(READY) ## takes nodes, processes and the head from searches on a cluster of real nodes: about 16 minutes
	PYTHONPATH=. $(BIN)/python tests/bench/cluster_chaos.py

bench-step: $(READY) ## what a step of a run costs beyond forward, backward and optimizer: 2 minutes
	PYTHONPATH=. $(BIN)/python tests/bench/bench_step.py

bench-share: $(READY) ## what quarters of a GPU are worth, and whether they are kept: about 8 minutes on a GPU
	test -d data/share || $(BIN)/chex phantom data/share --set train=800 valid=200
	PYTHONPATH=. $(BIN)/python tests/bench/bench_share.py data/share/CheXpert-v1.0-small --epochs 16 --greedy 512 --mps

bench-overhead: $(READY) $(PHANTOM) ## what Ray costs beyond the trainings themselves: about 10 minutes on 2 cores
	PYTHONPATH=. $(BIN)/python tests/bench/bench_overhead.py $(PHANTOM)

bench-policies: $(READY) ## what each policy is worth for each observation, on a phantom: about 45 minutes on 2 cores
	test -d data/policies || $(BIN)/chex phantom data/policies --set train=2000 valid=2000
	$(BIN)/chex-search run configs/search/policies.yaml --data data/policies/CheXpert-v1.0-small
	$(BIN)/python tests/bench/bench_policies.py results/policies

bench-search: $(READY) ## which sampler and stopping rule find most in a given number of images, on a model of real curves; TASK=by-observation
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python -W ignore tests/bench/bench_search.py $(if $(TASK),--task $(TASK))

bench-search-real: IMAGES = $(if $(TASK),2000,1000)
bench-search-real: $(READY) ## the default against random search in real small runs: about 20 minutes on 2 cores; TASK=by-observation: 3 hours
	test -d data/curves-$(or $(TASK),one-policy) || $(BIN)/chex phantom data/curves-$(or $(TASK),one-policy) --set train=$(IMAGES) valid=$(IMAGES)
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python -W ignore tests/bench/bench_search_real.py data/curves-$(or $(TASK),one-policy) $(if $(TASK),--task $(TASK))

bench-search-peers: $(READY) data/peers ## the same against Syne Tune and Optuna's Hyperband; TASK=by-observation
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python -W ignore tests/bench/bench_search_peers.py data/peers/bin/python $(if $(TASK),--task $(TASK))

bench-verdict: $(READY) ## whether verdicts hold, on SEARCHES (100) a scenario with known truth: about 2 hours on 2 cores
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python -W ignore tests/bench/bench_verdict.py --searches $(or $(SEARCHES),100) --seed $(or $(SEED),2000)

bench-input: $(READY) ## the decoded cache against JPEG files, memory and build: about 4 minutes; FILMS=<tree> reads real images
	$(BIN)/python tests/bench/bench_input.py $(if $(FILMS),--images $(FILMS))

bench-feed: $(READY) ## a node's start with images from a bucket, or with decoded ones, where NIH=<tree> holds images: about 6 minutes
	PYTHONPATH=. $(BIN)/python tests/bench/bench_feed.py $(NIH)

map: $(READY) ## writes docs/map.md from the docstrings of the code
	$(BIN)/python docs/make_map.py

bench-startup: $(READY) ## how long commands take to answer, beside `import torch`: about 2 minutes
	PYTHONPATH=. $(BIN)/python tests/bench/bench_startup.py

lock: $(UV) ## rewrites requirements.lock from pyproject.toml, with hashes and without addresses
	$(UV) pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --quiet --upgrade --output-file requirements.lock

clean: ## removes the environment and the demo's data, keeps results
	rm -rf $(VENV) .tools data

$(PHANTOM): | $(READY)
	$(BIN)/chex phantom data/phantom

data/peers: | $(UV)
	$(UV) venv --quiet $@
	VIRTUAL_ENV=$@ $(UV) pip install --quiet "syne-tune[basic]==0.16.0" huggingface_hub

$(READY): requirements.lock pyproject.toml | $(UV)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@test -d $(VENV) || $(UV) venv --quiet --no-python-downloads --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENV)
	@echo "installing the pinned packages into $(VENV)" >&2
	@VIRTUAL_ENV=$(VENV) $(UV) pip sync --require-hashes requirements.lock
	@VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.tools/bin/uv:
	@echo "fetching uv into .tools" >&2
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --target .tools uv==$(UV_VERSION)
