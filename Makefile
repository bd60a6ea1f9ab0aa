# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
DEMO_SPEED ?= 30

.PHONY: demo test lint format typecheck unit bundle clean
demo: .venv/installed
	.venv/bin/fewbeats demo --speed $(DEMO_SPEED)

test: lint typecheck unit

lint: .venv-dev/installed
	.venv-dev/bin/ruff check .
	.venv-dev/bin/ruff format --check .

format: .venv-dev/installed
	.venv-dev/bin/ruff check --fix .
	.venv-dev/bin/ruff format .

typecheck: .venv-dev/installed
	.venv-dev/bin/mypy

unit: .venv-dev/installed
	.venv-dev/bin/python -m pytest

# Train and pack the bundle that is shipped; FEWBEATS_DATA names the folder of records.
bundle: .venv-dev/installed
	.venv-dev/bin/fewbeats train --data $(FEWBEATS_DATA) --out runs/shipped
	.venv-dev/bin/fewbeats export runs/shipped --data $(FEWBEATS_DATA) --out src/fewbeats/device/bundles/default.fewbeats

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "fewbeats needs Python 3.11 or newer; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[gateway]'
	@touch $@

.venv-dev/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "fewbeats needs Python 3.11 or newer; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv-dev
	.venv-dev/bin/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv .venv-dev .mypy_cache .ruff_cache .pytest_cache .hypothesis build
