# Two commands: `make demo` (the synthetic cohort, from DICOM to the report) and `make test` (all tests).
# Both make .venv from requirements.txt first. Variables:
#   CORES=4           processor cores to use (default: all)
#   PYTHON=python3.12 the interpreter that makes .venv (3.11 or newer)
#   TORCH_INDEX=URL   package index that offers the PyTorch build you want (CPU or your CUDA version)

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
CORES ?= $(shell nproc)
TORCH_INDEX ?=
READY := $(VENV)/.ready

.PHONY: demo test setup rerun fuzz format

demo: $(READY)
	$(BIN)/snakemake --profile profiles/workstation --cores $(CORES) --configfile studies/demo.yaml
	@echo "The report: $(CURDIR)/results/report/index.html"

test: $(READY)
	$(BIN)/python -m pytest

setup: $(READY)

# one subject or scan again, from a chosen stage: make rerun SUBJECT=P001 FROM=crop_ct ARGS="--configfile studies/demo.yaml"
rerun: $(READY)
	files=$$($(BIN)/python -m lib.cohort.rerun $(SUBJECT) $(FROM) $(STUDY)) && \
	$(BIN)/snakemake --profile profiles/workstation --cores $(CORES) $(ARGS) --forcerun $$files

# 2,000 damaged and malicious inputs for the reader (`make test` runs a few of them)
fuzz: $(READY)
	$(BIN)/python bench/fuzz.py --count 2000

format: $(READY)
	$(BIN)/ruff check --fix . && $(BIN)/ruff format . && $(BIN)/snakefmt Snakefile rules

$(READY): requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or newer is needed; name one with: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(BIN)/pip install --index-url $(TORCH_INDEX) $(shell grep '^torch==' requirements.txt))
	$(BIN)/pip install --disable-pip-version-check --quiet --requirement requirements.txt
	@touch $(READY)
