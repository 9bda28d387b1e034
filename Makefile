# make demo    set up, then show, prove, run and emit the shipped kernel
# make test    set up, then style, types and tests
# make sweep   wide searches (minutes)
# make bench   times of the tool, its budgets, and of the JAX executor against hand-written JAX
# make docs    the site, into build/docs
# make clean   remove everything that the others made

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SITE := $(VENV)/.site
KERNEL := paged_attention
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check

# Tests start the package in hundreds of processes; each would compile all of it again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test sweep bench docs clean lint
.DEFAULT_GOAL := demo

# The newest python3 that runs and has venv; a name on PATH may be a shim that does not.
$(VENV)/bin/python:
	@for v in 3.14 3.13 3.12 3.11 3; do \
	  if python$$v -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
	    2>/dev/null; then \
	    echo "setting up $(VENV) with $$(python$$v --version)"; \
	    exec python$$v -m venv --clear $(VENV); \
	  fi; \
	done; \
	echo "error: no Python >= 3.11 with the modules venv and ensurepip on PATH"; exit 1

$(READY): pyproject.toml | $(VENV)/bin/python
	@echo "installing numpy, JAX and the tools of the tests into $(VENV) (about a minute)"
	@$(PIP) install --editable '.[test]' --config-settings editable_mode=compat
	@touch $@

$(SITE): pyproject.toml $(READY)
	@echo "installing Sphinx and what the site needs into $(VENV) (about a minute)"
	@$(PIP) install --editable '.[docs]' --config-settings editable_mode=compat
	@touch $@

demo: $(READY)
	@echo "== 1. the kernel, as a person wrote it"
	@$(BIN)/pto show $(KERNEL) --stage source
	@echo "== 2. its schedule: cores, pipes, slots and events"
	@$(BIN)/pto show $(KERNEL)
	@echo "== 3. the proof, for every schedule"
	@$(BIN)/pto check $(KERNEL)
	@$(BIN)/pto check $(KERNEL) --all
	@echo "== 4. the reference shape in JAX, against a float64 oracle"
	@$(BIN)/pto run $(KERNEL) --executor jax --case batch=16,context=8192
	@echo "== 5. the Ascend sources"
	@$(BIN)/pto emit $(KERNEL) -o build/$(KERNEL)
	@echo "== next"
	@echo "docs/tutorial.md: a kernel of your own in ten minutes; make docs builds the site"
	@echo "$(BIN)/pto simulate $(KERNEL) --svg build/$(KERNEL).svg: what every pipe waits for, drawn"
	@echo "$(BIN)/pto run $(KERNEL) --executor adversarial: real data in random orders of the pipes"

lint: $(READY)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check || { echo "error: run $(BIN)/ruff format"; exit 1; }
	@$(BIN)/mypy

test: lint
	@$(BIN)/pytest -q -n auto --maxprocesses 4 --dist worksteal

sweep: $(READY)
	@$(BIN)/pytest -q -s -m sweep

bench: $(READY)
	@$(BIN)/pto bench --budgets
	@$(BIN)/pto bench $(KERNEL) --rounds 20 --case batch=16,context=8192,ragged=false --case batch=16,context=8192
	@$(BIN)/pto bench gemm rmsnorm
	@$(BIN)/pto bench --schedules

docs: $(SITE)
	@rm -rf build/docs build/doctrees
	@$(BIN)/python -m sphinx -W --keep-going -n -q -c docs -d build/doctrees . build/docs
	@echo "build/docs/index.html"

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find pto lowering tests -name __pycache__ -type d -prune -exec rm -rf {} +
