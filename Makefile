# Every target sets up what it needs: python3 (3.11 or newer) and make suffice.
# The set-up lives in .venv and is repeated only when pyproject.toml changes.

PYTHON3 ?= python3
BIN     := .venv/bin
READY   := .venv/.ready

RANKS ?= 2
FIGURES := demo-output
WATCHED := $(shell test -t 2 && echo --progress)
DEMO    := mgresnet train fashion-mnist --depth 1024 --control 12 \
           --gradient-tolerance 0.01 --batch-size 250 --epochs 60 \
           --evaluate-every 20 $(WATCHED)

# One thread per rank: the ranks are the parallelism.
export OMP_NUM_THREADS      := 1
export OPENBLAS_NUM_THREADS := 1
# Let Open MPI run more ranks than cores, and run as root (as in a container).
export PRTE_MCA_rmaps_default_mapping_policy := :oversubscribe
export OMPI_ALLOW_RUN_AS_ROOT         := 1
export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM := 1

.PHONY: help demo test bench lint format clean

help:               ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

demo: $(READY)      ## train a deep network on one rank, then on RANKS=2
	@rm -rf $(FIGURES)
	@$(BIN)/python -m $(DEMO) --output $(FIGURES)/exact
	@$(BIN)/mpiexec -n $(RANKS) $(BIN)/python -m $(DEMO) --output $(FIGURES)/parallel
	@$(BIN)/mgresnet compare $(FIGURES)/exact $(FIGURES)/parallel

test: lint          ## run the checks, then the tests on up to four cores
	@$(BIN)/python -m pytest -n auto --maxprocesses 4

bench: $(READY)     ## measure kernels against other programs, the engine, memory
	@$(BIN)/python benchmarks kernels --quick
	@$(BIN)/python benchmarks engine_overhead --quick
	@$(BIN)/python benchmarks memory --quick

lint: $(READY)      ## check style, types, imports and spelling
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --quiet --check
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/codespell

format: $(READY)    ## put the code into its standard layout
	@$(BIN)/ruff check --quiet --fix
	@$(BIN)/ruff format --quiet

clean:              ## remove .venv and every cache
	rm -rf .venv build dist *.egg-info .*_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml tools/bootstrap.py
	@$(PYTHON3) tools/bootstrap.py
	@touch $@
