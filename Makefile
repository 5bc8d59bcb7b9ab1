# Two commands do everything on a machine with Python >= 3.11, make and git:
#   make demo    the whole way on the synthetic planet, report in demo/report
#   make test    lint, types, tests
# and   make docs    the documentation site, strict, in site/index.html
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/installed

# Byte code of what is used is written when it is first used; else each process would compile torch anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo docs test tests check lint format install clean

demo: $(STAMP)
	$(BIN)/ssl4eo demo --out demo

# Side by side: types are checked by one core for a minute. Both are done to their end, whichever fails.
test: $(STAMP)
	$(MAKE) --no-print-directory --keep-going --jobs 2 check tests

# One thread for each test process: more would spin against each other. One process more than there are cores, up to
# four: some tests wait for processes, servers or browsers.
tests: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $$($(BIN)/python -c 'import os; print(min(4, os.cpu_count() + 1))') --dist worksteal -m "not slow"

# Builds without a network; the banner that is switched off tells of MkDocs 2, constraints.txt pins what is used.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

check lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: $(STAMP)

# torch first and pinned: with a range, pip may pick a build of several gigabytes for another CUDA.
# pip compiles byte code by one core and to the last file: torch's is compiled beside the second pip instead, and the
# heavy modules are imported once, so that they are compiled wherever it is run. Templates in some packages are no Python.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else f"Python {sys.version.split()[0]} found, 3.11 or newer expected: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt torch torchvision
	($(BIN)/python -m compileall -qq $(VENV)/lib || true) & \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[test,lint]'; \
	status=$$?; wait; exit $$status
	$(BIN)/python -c 'import timm, ssl4eo.pretraining.loop; from ssl4eo.commands import collect, evaluate, report'
	touch $(STAMP)

clean:
	rm -rf demo site build dist .pytest_cache .ruff_cache .hypothesis
