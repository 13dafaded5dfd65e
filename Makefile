# Everything a fresh machine needs is CPython 3.11 to 3.13 with its venv module, and make.
# A setup that was interrupted is rebuilt by the next call; a finished one is used at once.

PYTHON ?= python3
WORKERS ?= 2
BENCHMARK ?= main_job
VENV := .venv
BIN := $(VENV)/bin
CONSTRAINTS := constraints/main.txt
TRAIN_READY := $(VENV)/.ready-train
DEV_READY := $(VENV)/.ready-dev
UNFINISHED := $(VENV)/.unfinished

.DEFAULT_GOAL := help
.PHONY: help setup train test soak test-lowest web-runtime lint bench clean

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(TRAIN_READY) ## install Sightline with TensorFlow into .venv

train: $(TRAIN_READY) ## train on the embedded MNIST; options in ARGS="--seed 1"
	$(BIN)/sightline train mnist $(ARGS)

test: $(DEV_READY) ## run the tests and every docstring example; options in ARGS="-m 'not slow'"
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

soak: $(DEV_READY) ## run the longest tests, which make test leaves out
	$(BIN)/python -m pytest -n $(WORKERS) --dist load -m soak $(ARGS)

test-lowest: ## run the quick tests with the lowest versions declared, in .venv-lowest; needs PYTHON=python3.11
	$(MAKE) --no-print-directory VENV=.venv-lowest CONSTRAINTS=constraints/lowest.txt test ARGS="-m 'not slow' $(ARGS)"

web-runtime: $(DEV_READY) ## fetch what pages in the browser run on, for the tests of them; needs npm
	$(BIN)/python -c "from sightline.deployment.web.runtime_files import runtime_files; runtime_files()"

lint: $(DEV_READY) ## check style, layout and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: $(TRAIN_READY) ## run benchmarks/main_job.py; another one with BENCHMARK=name
	$(BIN)/python benchmarks/$(BENCHMARK).py $(ARGS)

clean: ## remove .venv and all caches; runs stay
	rm -rf $(VENV) .venv-lowest build .pytest_cache .mypy_cache .ruff_cache
	find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

$(TRAIN_READY): pyproject.toml $(CONSTRAINTS)
	@$(call install,tensorflow)
	@touch $(TRAIN_READY)

# It holds all that training needs, so it counts as that setup too.
$(DEV_READY): pyproject.toml $(CONSTRAINTS)
	@$(call install,tensorflow$(,)jax$(,)dev)
	@touch $(TRAIN_READY) $(DEV_READY)

, := ,

# The editable install needs no repetition when sources change. The file $(UNFINISHED) exists from the first step to the
# last: pip takes half a package for a whole one, so an environment in which it was interrupted is made anew.
define install
	set -e; \
	if [ -e $(UNFINISHED) ] || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || { \
			echo "Sightline is set up with CPython 3.11 to 3.13; $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo not to be found)." \
				"Name another: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }; \
		rm -rf $(VENV); \
		$(PYTHON) -m venv $(VENV); \
	fi; \
	echo "Installing Sightline with $(1) into $(VENV). This happens once and may take minutes."; \
	touch $(UNFINISHED); \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) setuptools; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) \
		--no-build-isolation -e '.[$(1)]'; \
	rm $(UNFINISHED)
endef
