# make report   the demo's report; the first time it sets up .venv, after that it needs no network
# make test     every test and every notebook
# make lint     ruff and mypy
# make bench    how fast snapshots, append-only files and logs are read, against the peers;
#              how often bulk removal is seen where it was planted and where not (half an hour)
# make incidents   hundreds of incidents on real servers and workers, and how the verdicts do (OUT=folder; some 15 minutes)
# make lab      JupyterLab on copies of the notebooks in work/, so that the committed ones stay clean
# make docs     docs/reference.md anew: every verb, parameter, setting, column and cause, from the code
# make lock     constraints.txt anew from pyproject.toml (LOCK=--upgrade: the newest of everything)

TASK ?= c93afef4-105f-425c-af86-9ced40d30ee0
CASE ?= data/demo
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
# Version managers leave commands on PATH that do not run, so each is run. 3.12 and 3.11 come first: for them the tests can
# install a Redis from PyPI.
PYTHON ?= $(firstword $(shell for p in python3.12 python3.11 python3.13 python3; do "$$p" -c '$(SUPPORTED)' 2>/dev/null && echo "$$p"; done))

.PHONY: report test lint bench incidents lab docs lock

report: $(VENV)/.installed
	@$(BIN)/analysis investigate $(TASK) $(CASE)

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder --nbmake notebooks tests

lint: $(VENV)/.installed-test $(VENV)/.installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed-test $(VENV)/.installed-bench
	$(BIN)/python tests/benchmarks/rdb.py
	$(BIN)/python tests/benchmarks/aof.py
	$(BIN)/python tests/benchmarks/logs.py
	$(BIN)/python tests/benchmarks/ttl.py
	$(BIN)/python tests/benchmarks/archive.py
	$(BIN)/python tests/benchmarks/batch.py
	nice -n 10 $(BIN)/python tests/benchmarks/planted.py

OUT ?= work/incidents
incidents: $(VENV)/.installed-test
	$(BIN)/python -m tests.incidents $(OUT)
	$(BIN)/python -m tests.incidents.judge $(OUT)

lab: $(VENV)/.installed
	@$(BIN)/python -m analysis.lab work
	$(BIN)/jupyter-lab work/start_here.ipynb $(ARGS)

docs: $(VENV)/.installed
	$(BIN)/python docs/reference.py > docs/reference.md.new && mv docs/reference.md.new docs/reference.md

lock: $(BIN)/python
	$(PIP) install uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --no-annotate \
		--custom-compile-command 'make lock  (uv, from PyPI, over pyproject.toml)' $(LOCK) pyproject.toml -o constraints.txt

$(BIN)/python:
	@$(if $(PYTHON),:,echo "make: no Python 3.11, 3.12 or 3.13 found; install one, or name it: make $(MAKECMDGOALS) PYTHON=..." >&2; exit 2)
	@"$(PYTHON)" -c '$(SUPPORTED)' || { echo "make: $(PYTHON) is not Python 3.11, 3.12 or 3.13" >&2; exit 2; }
	@"$(PYTHON)" -c 'import ensurepip' 2>/dev/null || { echo "make: $(PYTHON) cannot make a venv; on Debian: apt-get install python3-venv" >&2; exit 2; }
	"$(PYTHON)" -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-%: $(VENV)/.installed
	$(PIP) install -c constraints.txt -e '.[$*]'
	@touch $@
