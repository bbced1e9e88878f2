# Everything runs in .venv, which the first target sets up; PYTHON chooses the interpreter (3.11 or newer).
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
DEPENDS := pyproject.toml constraints.txt

.PHONY: run test test-slow lint bench regression clean

run: $(VENV)/.run  ## the tour: each tour study at preset quick, the verdicts, and runs/report/index.html
	$(PY) -m experiments run --tour --preset quick

test: $(VENV)/.dev lint  ## ruff, pyright and the fast tests
	$(PY) -m pytest -n auto --dist loadfile

test-slow: $(VENV)/.dev  ## every test, the long ones too
	$(PY) -m pytest -n auto --dist loadfile -m "slow or not slow"

lint: $(VENV)/.dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pyright

bench: $(VENV)/.run  ## the driver against the same loop written by hand
	$(PY) -m experiments.bench driver

regression: $(VENV)/.run  ## agents reach the returns they are known to reach (MinAtar: with --slow)
	$(PY) -m experiments.bench rl.returns

$(VENV)/.run: $(DEPENDS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "lrn needs Python 3.11 or newer and $(PYTHON) is older; use make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.run
	$(INSTALL) --editable ".[dev]"
	touch $@

clean:  ## remove the environment and caches; runs/ stays
	rm -rf $(VENV) .pytest_cache .ruff_cache build *.egg-info
