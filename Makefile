# Every target says what it does: `make help`.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
LOCKS := cluster/locks
PIP := $(BIN)/python -m pip --disable-pip-version-check
# PyTorch's CPU build has a version of its own (2.13.0+cpu), which PyPI does not carry.
TORCH_CPU := 2.13.0+cpu
TORCH_CPU_SHA256 := 6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu

.PHONY: help
help:  ## Say what each target does
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20
