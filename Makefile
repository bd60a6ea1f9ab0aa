# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
DEMO_SPEED ?= 30

.PHONY: demo test lint format typecheck unit peers emulation results bundle faults clean
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
	OMP_NUM_THREADS=1 .venv-dev/bin/python -m pytest --numprocesses 2 --dist loadfile

# Real peers for the tests, which skip what is not there: an ssh server, a cross compiler, emulated
# boards. Root only.
peers:
	apt-get install --yes --quiet --no-install-recommends $$(cat tests/debian-packages.txt)

# Provisions a bare Debian over ssh, of this machine's processor and of a Raspberry Pi's, and lets it
# watch. Root only; half an hour the first time, when the two Debians are built and kept in ~/.cache.
emulation: .venv-dev/installed
	apt-get install --yes --quiet mmdebstrap qemu-user-static binfmt-support $$(cat tests/debian-packages.txt)
	FEWBEATS_EMULATION=1 .venv-dev/bin/python -m pytest tests/deploy/test_debian.py tests/deploy/test_steps.py tests/deploy/test_zephyr_board.py

# What is measured and shipped; FEWBEATS_DATA names the folder of records. Half an hour on two
# cores without the ablation, which takes as long again.
results: .venv-dev/installed
	.venv-dev/bin/fewbeats train --data $(FEWBEATS_DATA) --out runs/folds --folds --workers 2
	.venv-dev/bin/fewbeats ablate --data $(FEWBEATS_DATA) --out runs/ablation --steps 100 --workers 2
	.venv-dev/bin/fewbeats evaluate --data $(FEWBEATS_DATA) --folds runs/folds --ablation runs/ablation --report runs/report
	.venv-dev/bin/fewbeats report runs/report --docs docs/results.md

bundle: .venv-dev/installed
	.venv-dev/bin/fewbeats train --data $(FEWBEATS_DATA) --out runs/shipped
	.venv-dev/bin/fewbeats export runs/shipped --data $(FEWBEATS_DATA) --report runs/report --out src/fewbeats/device/bundles/default.fewbeats

# What is tried to break a gateway, and what comes of it: five minutes.
faults: .venv-dev/installed
	.venv-dev/bin/python benchmarks/fault_matrix.py --markdown docs/faults.md

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
