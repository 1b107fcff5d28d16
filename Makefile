# Every target says what it does: `make help`.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

PYTHON ?= python3.11
VENV ?= .venv
# cpu or gpu: which build of vLLM is installed.
BUILD ?= cpu
# The configuration that `make run` starts; empty: chosen by this machine's memory.
PROFILE ?=
UV_VERSION := 0.13.9
# PyTorch's CPU build has a version of its own, which only PyTorch's index carries.
TORCH_CPU := 2.13.0+cpu
TORCH_CPU_SHA256 := 6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu

BIN := $(VENV)/bin
LOCKS := cluster/locks
FENZHEN := $(BIN)/fenzhen
PIP_INSTALL := $(BIN)/python -m pip --disable-pip-version-check install -qq --no-deps --require-hashes
EASY := What is the capital of France?
HARD := Of 250 applications this month 40 % were filed online and the others at the counter. How many were filed at the counter? Show the steps.

.PHONY: help setup setup-training setup-loadtest run down check test conformance conformance-slow docs ability bench-router bench-routing bench-rollout bench-training bench-loadtest judge lock clean

help:  ## Say what each target does
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

setup: $(VENV)/.installed-$(BUILD)  ## Install everything that serves into .venv (BUILD=gpu for GPUs)

setup-training: $(VENV)/.installed-train-$(BUILD)  ## The same, and what `fenzhen train` needs (150 MB more)

setup-loadtest: $(VENV)/.installed-loadtest  ## The same, and what `fenzhen loadtest` needs

run: setup  ## Set up, start, ask an easy and a hard question, explain both answers
	$(FENZHEN) up --detach $(if $(PROFILE),--profile $(PROFILE))
	$(FENZHEN) ask --explain $(if $(PROFILE),--profile $(PROFILE)) "$(EASY)"
	$(FENZHEN) ask --explain $(if $(PROFILE),--profile $(PROFILE)) "$(HARD)"
	@echo
	@echo "It goes on running. Ask more:  $(FENZHEN) ask --explain \"北京是哪个国家的首都？\""
	@echo "Look at it:                    $(FENZHEN) status"
	@echo "Stop it:                       make down"

down:  ## Stop what `make run` started
	$(FENZHEN) down $(if $(PROFILE),--profile $(PROFILE))

check: $(VENV)/.installed-dev  ## Lint, format, types, import direction
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(VENV)/.installed-dev  ## Run all tests, those on real engines included
	@.ci/servers
	@# Most of these wait for clocks and sockets: three at a time. Those on real engines want the machine for themselves.
	@status=0; \
		$(BIN)/python -m pytest tests/unit tests/contract tests/conformance tests/integration -n 3 --dist loadfile \
			|| status=$$?; \
		$(BIN)/python -m pytest tests/e2e || status=$$?; exit $$status

conformance: $(VENV)/.installed-dev  ## Run public HTTP/1.1 suites and our own cases against the router
	$(BIN)/python -m pytest tests/conformance

# From Debian, without installing it: needs apt and dpkg, no root. Debian's number and digest, so that nothing else runs.
SLOWHTTPTEST := slowhttptest=1.8.2-1+b1
SLOWHTTPTEST_SHA256 := 6bd6302aa9a323b371e2aa7a95e9c8116013a1adc2e22f864438e679622d9ef8

conformance-slow: $(VENV)/.installed-dev  ## Attack the router with hundreds of slow clients (slowhttptest, from Debian)
	@mkdir -p build/slowhttptest
	@cd build/slowhttptest && { ls slowhttptest_*.deb >/dev/null 2>&1 || apt-get download -qq $(SLOWHTTPTEST); }
	@cd build/slowhttptest && echo "$(SLOWHTTPTEST_SHA256)  $$(ls slowhttptest_*.deb)" | sha256sum --check --quiet
	@dpkg -x build/slowhttptest/slowhttptest_*.deb build/slowhttptest
	$(BIN)/python -m tests.conformance.slow_attacks build/slowhttptest/usr/bin/slowhttptest

docs: $(VENV)/.installed-dev  ## Make docs/configuration.md, docs/recipe.md and docs/load-plan.md from the settings
	$(BIN)/python -c "from cluster.settings_reference import reference; print(reference(), end='')" > docs/configuration.md
	$(BIN)/python -c "from training.recipe_reference import reference; print(reference(), end='')" > docs/recipe.md
	$(BIN)/python -c "from loadtests.plan_reference import reference; print(reference(), end='')" > docs/load-plan.md

ability: setup  ## Measure what each model of the running stack can do
	$(BIN)/python -m loadtests.ability --base-url http://127.0.0.1:8000/v1 $(ABILITY)

bench-router: $(VENV)/.installed-loadtest  ## Measure a request's cost beside rival proxies (35 minutes; BENCH="--quick" SCALE="--quick")
	$(BIN)/python -m loadtests.router_bench $(BENCH)
	$(BIN)/python -m loadtests.router_bench.scale_main $(SCALE)

# Public routing sets lie in the folder DATA; nothing of them is kept here. One core, so that figures are the same again.
ROUTING_PYTHON := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python

bench-routing: setup  ## Measure the judge of questions on public sets (DATA=folder; 10 minutes; BENCH="--json PATH")
	@test -n "$(DATA)" || { echo "Say where the public routing sets lie: make bench-routing DATA=folder"; exit 2; }
	@$(ROUTING_PYTHON) -m router.learning.bench --data "$(DATA)" $(BENCH)

bench-rollout: $(VENV)/.installed-dev  ## Measure the judge of rollouts, and broken versions over a real engine (30 minutes; BENCH="--quick")
	@$(ROUTING_PYTHON) -m loadtests.rollout_bench judge --json build/bench/rollout.json $(BENCH)
	@$(ROUTING_PYTHON) -m loadtests.rollout_bench drift --json build/bench/rollout.json $(BENCH)
	@$(BIN)/python -m loadtests.rollout_bench broken --json build/bench/rollout.json $(BENCH)

bench-training: $(VENV)/.installed-dev  ## Measure what fine-tuning teaches, its speed beside a plain loop, and that kills change nothing (25 minutes; BENCH="--quick")
	@$(BIN)/python -m training.bench quality --json build/bench/training.json $(BENCH)
	@$(BIN)/python -m training.bench quality --qlora --json build/bench/training.json $(BENCH)
	@$(BIN)/python -m training.bench speed --json build/bench/training.json $(BENCH)
	@$(BIN)/python -m training.bench resume --json build/bench/training.json $(BENCH)

bench-loadtest: $(VENV)/.installed-loadtest  ## Hold the load test beside a public tool, 2,000 people, what routing buys (40 minutes; BENCH="--quick")
	@$(BIN)/python -m loadtests.loadtest_bench lag --json build/bench/loadtest.json $(BENCH)
	@$(BIN)/python -m loadtests.loadtest_bench consultations --json build/bench/loadtest.json $(BENCH)
	@$(BIN)/python -m loadtests.loadtest_bench agreement --json build/bench/loadtest.json $(BENCH)
	@$(BIN)/python -m loadtests.loadtest_bench agreement-engine --json build/bench/loadtest.json $(BENCH)
	@$(BIN)/python -m loadtests.loadtest_bench routing --json build/bench/loadtest.json $(BENCH)

judge: setup  ## Make the shipped judge router/default.judge again (DATA=folder; 3 minutes)
	@test -n "$(DATA)" || { echo "Say where the public routing sets lie: make judge DATA=folder"; exit 2; }
	@$(ROUTING_PYTHON) -m fenzhen router train --public "$(DATA)" --name default-1 --output router/default.judge

# ---- environments ---------------------------------------------------------------------------------------------------

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null \
		|| { echo "Python 3.11 is needed: apt install python3.11, or make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Making $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { echo "venv is missing: apt install python3.11-venv"; rm -rf $(VENV); exit 1; }

# The project itself, with nothing resolved or built apart: setuptools comes out of the lock.
define install_project
	@$(BIN)/python -m pip --disable-pip-version-check install -qq --no-deps --no-build-isolation -e .
	@echo "Compiling the router's judgement (some seconds, once for each version)"
	@$(BIN)/python -c "import router.chat_scan"
	@touch $@
endef

$(VENV)/.installed-cpu: $(BIN)/python $(LOCKS)/cpu.txt pyproject.toml
	@echo "Installing the locked packages (about 0.5 GB to download, 3 GB on disk, 2 to 4 minutes)"
	@grep -A1 '^torch==' $(LOCKS)/cpu.txt > $(VENV)/torch.txt
	@# Where pip does not know the CPU build, PyTorch's own index does. The hash is the same.
	@$(PIP_INSTALL) -r $(VENV)/torch.txt 2>/dev/null \
		|| $(PIP_INSTALL) --extra-index-url $(TORCH_CPU_INDEX) -r $(VENV)/torch.txt
	@$(PIP_INSTALL) -r $(LOCKS)/cpu.txt
	$(install_project)

$(VENV)/.installed-gpu: $(BIN)/python $(LOCKS)/gpu.txt pyproject.toml
	@echo "Installing the locked packages (several GB)"
	@$(PIP_INSTALL) -r $(LOCKS)/gpu.txt
	$(install_project)

$(VENV)/.installed-dev: $(VENV)/.installed-train-cpu $(LOCKS)/dev.txt
	@echo "Installing the test tools"
	@$(PIP_INSTALL) -r $(LOCKS)/dev.txt
	@touch $@

$(VENV)/.installed-train-cpu: $(VENV)/.installed-cpu $(LOCKS)/train.txt
	@echo "Installing the tools for fine-tuning"
	@$(PIP_INSTALL) -r $(LOCKS)/train.txt
	@touch $@

$(VENV)/.installed-train-gpu: $(VENV)/.installed-gpu $(LOCKS)/train-gpu.txt
	@echo "Installing the tools for fine-tuning"
	@$(PIP_INSTALL) -r $(LOCKS)/train-gpu.txt
	@touch $@

$(VENV)/.installed-loadtest: $(VENV)/.installed-cpu $(LOCKS)/loadtest.txt
	@echo "Installing the tools for load tests"
	@$(PIP_INSTALL) -r $(LOCKS)/loadtest.txt
	@touch $@

UV := $(VENV)/lock-tools/bin/uv
COMPILE = $(UV) pip compile pyproject.toml --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
	--generate-hashes --no-emit-index-url --no-header --no-annotate -q
# With the CPU build's version and hash in place of those of the CUDA build, which has the plain number.
CPU_TORCH_LINE = awk -v line='torch==$(TORCH_CPU) \\' -v hash='    --hash=sha256:$(TORCH_CPU_SHA256)' \
	'/^torch==/ {print line; print hash; skip = 1; next} /^[^ ]/ {skip = 0} !skip'

lock: $(BIN)/python  ## Resolve anew and write the lock files
	$(PYTHON) -m venv $(VENV)/lock-tools && $(VENV)/lock-tools/bin/pip install -qq uv==$(UV_VERSION)
	@# First everything together, so that the parts agree; then each part out of it.
	$(COMPILE) --extra cpu --extra dev --extra train --extra loadtest --override $(LOCKS)/overrides.txt \
		-o $(VENV)/everything.txt
	@grep -oE '^[a-zA-Z0-9._-]+==[^ ]+' $(VENV)/everything.txt > $(VENV)/versions.txt
	@for part in cpu dev train loadtest; do \
		$(COMPILE) --extra cpu --extra $$part --override $(LOCKS)/overrides.txt -c $(VENV)/versions.txt \
			-o $(VENV)/$$part.txt; \
		$(CPU_TORCH_LINE) $(VENV)/$$part.txt > $(LOCKS)/$$part.txt; \
		echo "$(LOCKS)/$$part.txt: $$(grep -c == $(LOCKS)/$$part.txt) distributions"; \
	done
	@$(COMPILE) --extra gpu -o $(LOCKS)/gpu.txt
	@$(COMPILE) --extra gpu --extra train -c $(LOCKS)/gpu.txt -o $(LOCKS)/train-gpu.txt
	@echo "$(LOCKS)/gpu.txt: $$(grep -c == $(LOCKS)/gpu.txt) distributions"

clean:  ## Remove the environment and what was built; models stay
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
