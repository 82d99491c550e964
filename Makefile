# Two commands: `make demo` (a synthetic cohort, from DICOM to the report) and `make test` (all tests but the faults
# of a cluster, which are in `make test-cluster`).
# `make demo` shows femora in CT. `make demo STUDY=mr-femur` runs studies/mr-femur-demo.yaml instead, in the folder
# demos/mr-femur, because a folder holds the results of one study.
# Both make .venv from requirements.txt first. Variables:
#   STUDY=mr-femur    another demo: each studies/NAME-demo.yaml is one
#   CORES=4           processor cores of this machine to use (default: all)
#   PROFILE=slurm     where jobs run: a cluster, by profiles/slurm (default: this machine, profiles/workstation)
#   PYTHON=python3.12 the interpreter that makes .venv (3.11 or newer)
#   TORCH_INDEX=URL   package index that offers the PyTorch build you want (CPU or your CUDA version)

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
CORES ?= $(shell nproc)
PROFILE ?= profiles/workstation
TORCH_INDEX ?=
READY := $(VENV)/.ready
DOCS_READY := $(VENV)/.docs-ready
# a cluster's jobs take the cores that their rules ask for: --cores would cap them at those of the login node
CORES_HERE := $(if $(filter slurm,$(notdir $(PROFILE:/=))),,--cores $(CORES))
# Without a GPU the trainings of a demo run side by side, and so do its predictions: the networks are too small to keep
# many threads busy. The CT demo has three trainings, that of MR 32.
DEMO_TRAININGS_mr-femur := 32
DEMO_TRAININGS := $(or $(DEMO_TRAININGS_$(STUDY)),3)
DEMO_CORES := $(CORES_HERE)
ifneq ($(CORES_HERE),)
ifeq ($(wildcard /dev/nvidiactl),)
DEMO_THREADS := $(shell echo $$(($(CORES) < $(DEMO_TRAININGS) ? 1 : $(CORES) / $(DEMO_TRAININGS))))
DEMO_CORES := $(CORES_HERE) --resources gpu=$(DEMO_TRAININGS) \
    --set-threads train_fold=$(DEMO_THREADS) predict_scans=$(DEMO_THREADS) \
    train_regression=$(DEMO_THREADS) predict_regression=$(DEMO_THREADS)
endif
endif

# Each of pytest's workers takes one file of tests at a time, the slow files first. The workers share the cores, so idle
# OpenMP threads sleep (PASSIVE) instead of spinning.
TESTS := tests/workflow tests/unit tests/gpu tests/slurm plugins
TEST_WORKERS := $(shell echo $$(($(CORES) < 4 ? $(CORES) : 4)))

.PHONY: demo test test-cluster golden golden-numbers setup doctor estimate rerun recover fuzz format

DEMOS := $(patsubst studies/%-demo.yaml,%,$(wildcard studies/*-demo.yaml))
DEMO_FOLDER := $(if $(STUDY),demos/$(STUDY)/)

demo: $(READY)
ifneq ($(STUDY),$(filter $(STUDY),$(DEMOS)))
	@echo "There is no such demo; name one with STUDY=NAME: $(DEMOS). Without STUDY it is the CT demo." && exit 1
endif
	$(BIN)/snakemake --profile $(PROFILE) $(DEMO_CORES) \
	    --configfile $(if $(STUDY),studies/$(STUDY)-demo.yaml --directory $(DEMO_FOLDER),studies/demo.yaml)
	@echo "The report: $(CURDIR)/$(DEMO_FOLDER)results/report/index.html"

test: $(READY) $(DOCS_READY)
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest --numprocesses $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder \
	    $(TESTS)

# faults, accounting and the demo on a two-node SLURM cluster that the tests start: about 45 minutes
# (as root; Debian packages slurm-wlm and munge, for accounting slurmdbd and mariadb-server)
test-cluster: $(READY)
	$(BIN)/python -m pytest tests/slurm -m "workflow"

# weights, images and tables of a small study, made with the commit OLD and with the working tree (or the commit NEW),
# compared bit for bit: make golden OLD=COMMIT
golden: $(READY)
	$(BIN)/python -m tests.golden --cores $(CORES) $(OLD) $(NEW)

# update the expected numbers of the tests' small study after an intended change
golden-numbers: $(READY)
	$(BIN)/python -m pytest tests/workflow/test_numbers.py --refresh-numbers

setup: $(READY)

# the documentation site, in site/; it opens from the folder, without a server
.PHONY: docs
docs: $(DOCS_READY)
	$(BIN)/python docs/columns.py && $(BIN)/python docs/drawings.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "The documentation: $(CURDIR)/site/index.html"

# ARGS below: the arguments for snakemake, such as
# ARGS="--profile slurm --configfile studies/hips.yaml --directory /data/hips"

# check machine, cluster and cohort table before a run
doctor:
	@$(or $(wildcard $(BIN)/python),$(PYTHON)) -m lib.commands.doctor $(ARGS)

# estimate jobs, hours and disk of a study before a run
estimate: $(READY)
	@$(BIN)/python -m lib.commands.estimate $(ARGS)

# after a killed run (kill -9, power cut): cancel the jobs that it left in SLURM's queue, then continue the run
recover: $(READY)
	$(BIN)/python -m lib.commands.recover $(ARGS) && $(BIN)/snakemake $(ARGS) --unlock && $(BIN)/snakemake $(ARGS)

# one subject or scan again, from a chosen stage: make rerun SUBJECT=P001 FROM=crop_image ARGS="--configfile studies/demo.yaml"
# the three variables are passed to the shell unchanged, in the environment and in quotes
unexport SUBJECT FROM STUDY
rerun: export RERUN_SUBJECT := $(value SUBJECT)
rerun: export RERUN_FROM := $(value FROM)
rerun: export RERUN_STUDY := $(if $(value STUDY),$(value STUDY),.)
rerun: $(READY)
	@files=$$($(BIN)/python -m lib.commands.rerun -- "$$RERUN_SUBJECT" "$$RERUN_FROM" "$$RERUN_STUDY") && \
	$(BIN)/snakemake --profile $(PROFILE) $(CORES_HERE) $(ARGS) --forcerun $$files

# 2,000 damaged and malicious inputs for the reader (`make test` runs a few of them)
fuzz: $(READY)
	$(BIN)/python bench/fuzz.py --count 2000

format: $(READY)
	$(BIN)/ruff check --fix . && $(BIN)/ruff format . && $(BIN)/snakefmt Snakefile rules

$(READY): requirements.txt $(wildcard plugins/*/pyproject.toml plugins/*/src/*/*.py)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or newer is needed; name one with: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(BIN)/pip install --index-url $(TORCH_INDEX) $(shell grep '^torch==' requirements.txt))
	$(BIN)/pip install --disable-pip-version-check --quiet --requirement requirements.txt
	@touch $(READY)

$(DOCS_READY): $(READY) requirements-docs.txt
	$(BIN)/pip install --disable-pip-version-check --quiet --no-deps --requirement requirements-docs.txt
	@touch $(DOCS_READY)
