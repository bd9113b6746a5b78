# Two commands are all a newcomer needs: `make demo` and `make test`. Each sets up `.venv` when it is not there yet.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete
WORKERS ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: setup demo check test test-slow bench docs clean

setup: $(STAMP)

# torch goes first and alone: a range asked for by another package would fetch the newest build with its GPU libraries.
$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "setting up $(VENV) (a few minutes the first time)"
	@$(BIN)/pip install --quiet --constraint constraints.txt torch 2> $(VENV)/pip.log || { cat $(VENV)/pip.log >&2; exit 1; }
	@$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[development]' 2> $(VENV)/pip.log || { cat $(VENV)/pip.log >&2; exit 1; }
	@touch $@

demo: setup
	@$(BIN)/python examples/demo.py

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: setup
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -m "not slow"

test-slow: setup
	$(BIN)/python -m pytest -q -m slow --timeout 3600

# Scripts that need a finished comparison, a trained model or your data are run by hand: benchmarks/results/README.md has their commands.
BY_HAND := $(addprefix benchmarks/,compare_real_data.py error_reductions.py sequence_models.py two_versions.py word_senses.py)

bench: setup
	@for script in $(filter-out $(BY_HAND),$(sort $(wildcard benchmarks/*.py))); do echo "== $$script"; $(BIN)/python $$script || exit 1; done

docs: setup
	$(BIN)/python -m pytest -q tests/docs

clean:
	rm -rf $(VENV) runs dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
