# `make demo` and `make test` are all a newcomer needs: both build .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test fast lint clean

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	# torch first and by its exact pin: a range may bring several GB of CUDA packages.
	$(BIN)/pip install --quiet "$$(grep '^torch==' constraints.txt)"
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,fast]'
	touch $(INSTALLED)

# A whole search on the built-in synthetic traffic; everything it makes lies below demo/.
demo: $(INSTALLED)
	BIN=$(BIN) sh examples/demo.sh

# All tests: style, types, import contracts, units, integration, and real data where it is present.
# Two at a time, a file's tests in one process: many of them wait for Ray, not for a core.
test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

# What every commit must pass.
fast: $(INSTALLED)
	$(BIN)/python -m pytest -m "not slow and not real_data"

lint: $(INSTALLED)
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

clean:
	rm -rf $(VENV) demo
