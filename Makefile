# `make` lists the targets.
VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export ORT_DISABLE_TELEMETRY := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test test-image test-fuzz lint types check docs bench bench-train bench-validation bench-explore bench-tune bench-serve \
	bench-serve-mixed bench-quality bench-drift bench-promotion bench-watch clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

demo: $(STAMP)  ## install, train Boston, serve it, ask for the tutorial's house, stop
	$(BIN)/python examples/boston/demo.py

test: $(STAMP)  ## pass the tests
	$(BIN)/pytest

test-image: $(STAMP)  ## images in a real Docker engine and a registry; root installs Debian's packages; minutes
	ESTIMATOR_TEST_ENGINE=1 $(BIN)/pytest -n 0 tests/test_image.py tests/test_image_ecr.py tests/test_image_engine.py tests/test_deployment_engine.py

test-fuzz: $(STAMP)  ## what the server takes a shortcut for, beside the thorough way, on 2.5 million inputs; half an hour
	ESTIMATOR_FUZZ_INPUTS=500000 $(BIN)/pytest -n 2 --dist load tests/test_server_fuzz.py

lint: $(STAMP)  ## check style and formatting
	$(BIN)/ruff check src tests benchmarks examples docs
	$(BIN)/ruff format --check src tests benchmarks examples docs

types: $(STAMP)  ## check types, strictly
	$(BIN)/mypy

check: lint types test  ## all of the above, as CI does

docs: $(STAMP)  ## write docs/config.md and the pasted help from the code
	$(BIN)/python docs/write.py

bench: bench-train bench-validation bench-explore bench-tune  ## run the benchmarks of speed; minutes

bench-train: $(STAMP)  ## training speed against Keras on TensorFlow and scikit-learn; installs TensorFlow apart
	$(BIN)/python benchmarks/train.py

bench-validation: $(STAMP)  ## five folds of the tutorial's net, three times, against Keras on TensorFlow
	$(BIN)/python benchmarks/validation.py

bench-explore: $(STAMP)  ## exploring speed against a bare scan, DuckDB, ydata-profiling and skrub; installs them apart
	$(BIN)/python benchmarks/explore.py

bench-tune: $(STAMP)  ## a search against Optuna around Keras, with workers, killed and resumed; installs TensorFlow apart
	$(BIN)/python benchmarks/tune.py

bench-serve: $(STAMP)  ## the server against FastAPI, five frameworks for serving, nginx and C, by wrk; installs them apart; an hour
	$(BIN)/python benchmarks/serve.py

bench-serve-mixed: $(STAMP)  ## ten minutes of mixed load while versions move, a worker is killed and truths come in
	$(BIN)/python benchmarks/serve_mixed.py

bench-quality: $(STAMP)  ## held-out error and its cost against CatBoost, LightGBM, FLAML, AutoGluon and MAPIE; hours
	$(BIN)/python benchmarks/quality.py
	$(BIN)/python benchmarks/quality.py --report

bench-drift: $(STAMP)  ## false alarms, power and delay against Evidently, NannyML and alibi-detect; installs them apart; an hour
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/drift.py

bench-promotion: $(STAMP)  ## how often an equal version is promoted, and how soon a better one
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/promotion.py

bench-watch: $(STAMP)  ## rows a second that a watcher keeps up with, and the server's latency beside it
	$(BIN)/python benchmarks/watch.py

clean:  ## remove the environment and what was built
	rm -rf $(VENV) build dist models
