# Everything runs in .venv, which the first target sets up; PYTHON chooses the interpreter (3.11 or newer).
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
DEPENDS := pyproject.toml constraints.txt

# Verdicts and tests may not hang on the last bit: the suite has to pass under each of these, one after another.
# FLAGS are those of tests/conftest.py, which leaves XLA_FLAGS alone where it is set.
FLAGS := --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true \
	--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1
DISTURBANCES := sse4 avx2 narrow one-core four-devices
disturbed-sse4: export XLA_FLAGS = $(FLAGS) --xla_cpu_max_isa=SSE4_2
disturbed-avx2: export XLA_FLAGS = $(FLAGS) --xla_cpu_max_isa=AVX2
disturbed-narrow: export XLA_FLAGS = $(FLAGS) --xla_cpu_prefer_vector_width=256
disturbed-one-core: PIN := taskset -c 0
disturbed-four-devices: export XLA_FLAGS = $(FLAGS) --xla_force_host_platform_device_count=4

.PHONY: run test fast-tests docs test-slow test-disturbed $(DISTURBANCES:%=disturbed-%) lint bench regression clean

run: $(VENV)/.run  ## the tour: each tour study at preset quick, the verdicts, and runs/report/index.html
	$(PY) -m experiments run --tour --preset quick

test: $(VENV)/.dev  ## ruff, pyright and the fast tests, side by side
	@$(MAKE) --no-print-directory --jobs 2 lint fast-tests

fast-tests: $(VENV)/.dev
	$(PY) -m pytest -n auto --dist loadfile --no-loadscope-reorder --durations 15

# As users' programs are compiled; the fast tests compile in haste (tests/conftest.py).
test-slow: export XLA_FLAGS =
test-slow: $(VENV)/.dev  ## every test, the long ones too
	$(PY) -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "slow or not slow"

test-disturbed: $(DISTURBANCES:%=disturbed-%)  ## the fast tests under other rounding and scheduling (five times)

$(DISTURBANCES:%=disturbed-%): $(VENV)/.dev
	$(PIN) $(PY) -m pytest -n auto --dist loadfile --no-loadscope-reorder $(TESTS)

lint: $(VENV)/.dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pyright

docs: $(VENV)/.docs  ## the documentation site, in build/docs; needs no network
	$(PY) -m sphinx --builder html --fail-on-warning --keep-going --quiet docs build/docs
	@echo "open build/docs/index.html"

bench: $(VENV)/.run  ## the driver against the same loop written by hand
	$(PY) -m experiments.bench driver

regression: $(VENV)/.run  ## agents reach the returns they are known to reach (MinAtar: with --slow)
	$(PY) -m experiments.bench rl.returns

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "lrn needs Python 3.11 or newer and $(PYTHON) is older; use make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(DEPENDS) | $(PY)
	$(INSTALL) --editable .
	touch $@

$(VENV)/.dev: $(DEPENDS) | $(PY)
	$(INSTALL) --editable ".[dev]"
	touch $(VENV)/.run $@

$(VENV)/.docs: $(DEPENDS) | $(PY)
	$(INSTALL) --editable ".[docs]"
	touch $(VENV)/.run $@

clean:  ## remove the environment and caches; runs/ stays
	rm -rf $(VENV) .pytest_cache .ruff_cache build *.egg-info
