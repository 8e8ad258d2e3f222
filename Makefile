# `make` lists the targets.
VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO_STAMP := $(VENV)/.installed-train
SHIPPING_TESTS := $(wildcard tests/test_image*.py tests/test_deployment_*.py) tests/test_pipeline.py tests/test_chaos_shipping.py
export ORT_DISABLE_TELEMETRY := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test test-shipping test-quick test-install test-image test-fuzz test-tables test-compatibility test-chaos test-loop test-scale lint types check docs bench bench-train bench-validation bench-forecast bench-explore bench-tune bench-serve \
	bench-serve-mixed bench-quality bench-drift bench-promotion bench-loop bench-monitor bench-scale bench-leaks clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(DEMO_STAMP): pyproject.toml constraints.txt
	@echo "Installing estimator with what training needs (1.1 GB) into $(VENV); a minute or two"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --constraint constraints.txt --editable '.[train]'
	@touch $(DEMO_STAMP)

$(STAMP): pyproject.toml constraints.txt
	@echo "Installing estimator with every extra and the test tools (2.5 GB) into $(VENV); some minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP) $(DEMO_STAMP)

demo: $(DEMO_STAMP)  ## install, train Boston, serve it, predict the tutorial's house, stop
	$(BIN)/python examples/boston/demo.py

test: $(STAMP)  ## run the tests, except those of test-shipping; lists the ten slowest; fifteen to twenty minutes
	$(BIN)/pytest --durations=10 --durations-min=1 $(addprefix --ignore=,$(SHIPPING_TESTS))

test-shipping: $(STAMP)  ## run the tests of images, deployments and CI, against stand-ins for AWS and Kubernetes; four minutes
	$(BIN)/pytest --durations=10 --durations-min=1 $(SHIPPING_TESTS)

test-quick: $(STAMP)  ## run the tests that train no example and start no process; under a minute
	$(BIN)/pytest --quick

test-install: $(STAMP)  ## install the base package into a fresh environment, and serve from it; a minute
	ESTIMATOR_TEST_INSTALL=1 $(BIN)/pytest -n 0 tests/test_install.py

test-image: $(STAMP)  ## build and run images in a real Docker engine; needs root for Debian's packages; minutes
	ESTIMATOR_TEST_ENGINE=1 $(BIN)/pytest -n 0 tests/test_image.py tests/test_image_ecr.py tests/test_image_engine.py tests/test_deployment_engine.py

test-fuzz: $(STAMP)  ## compare the server's fast path with its ordinary path on 2.5 million inputs, and read 100,000 made formulas; half an hour
	ESTIMATOR_FUZZ_INPUTS=500000 ESTIMATOR_FUZZ_FORMULAS=100000 $(BIN)/pytest -n 2 --dist load tests/test_server_fuzz.py \
		tests/test_table_bodies.py tests/test_formulas.py

test-tables: $(STAMP)  ## read 100,000 made tables in every format, in requests and on the page; an hour
	ESTIMATOR_CRUEL_TABLES=25000 $(BIN)/pytest -n 2 --dist load tests/test_cruel_tables.py \
		tests/test_page.py::test_made_tables_are_read_as_predict_reads_them

test-compatibility: $(STAMP)  ## predict and serve stored versions with the oldest and the newest packages that are allowed; six minutes
	ESTIMATOR_TEST_COMPATIBILITY=1 $(BIN)/pytest -n 0 tests/test_compatibility.py

test-chaos: $(STAMP)  ## kill, corrupt and race what is written, at least 30 kills per writer; half an hour or more
	ESTIMATOR_CHAOS_KILLS=30 $(BIN)/pytest -n 2 --dist worksteal --durations=0 --durations-min=0.5 \
		tests/test_chaos_shipping.py tests/test_chaos_verbs.py tests/test_chaos.py tests/test_chaos_machine.py \
		tests/test_shared_log.py

test-loop: $(STAMP)  ## retrain every kind of model, by every candidate, source and kind of column; some minutes
	ESTIMATOR_LOOP_EVERYTHING=1 $(BIN)/pytest -n 2 tests/test_retraining_kinds.py

test-scale: $(STAMP)  ## train on Ray clusters of one to three nodes, and kill processes and nodes meanwhile; six minutes
	ESTIMATOR_TEST_SCALE=1 $(BIN)/pytest -n 0 tests/test_engine.py tests/test_engine_scale.py

test-dates: $(STAMP)  ## compare the readers of dates on a million made dates; two minutes
	ESTIMATOR_TEST_DATES=1000000 $(BIN)/pytest -n 0 tests/test_dates.py tests/test_page.py -k "dates or alike or order"

lint: $(STAMP)  ## check style and formatting
	$(BIN)/ruff check src tests benchmarks examples docs
	$(BIN)/ruff format --check src tests benchmarks examples docs

types: $(STAMP)  ## check types, strictly
	$(BIN)/mypy

check: lint types test test-shipping  ## lint, types and both of these, as CI does

docs: $(STAMP)  ## write the reference pages from the code, and build the site into build/docs
	$(BIN)/python docs/write.py
	$(BIN)/mkdocs build --quiet --strict
	@echo "open build/docs/index.html"

bench: bench-train bench-validation bench-explore bench-tune  ## run the speed benchmarks; minutes

bench-train: $(STAMP)  ## training speed against Keras on TensorFlow and scikit-learn, in an environment of its own
	$(BIN)/python benchmarks/train.py

bench-validation: $(STAMP)  ## cross-validation of the tutorial's net against Keras on TensorFlow
	$(BIN)/python benchmarks/validation.py

bench-forecast: $(STAMP)  ## time and memory that `train --forecast` says, against what training takes; half an hour
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/forecast.py

bench-explore: $(STAMP)  ## profiling speed against a bare scan, DuckDB, ydata-profiling and skrub
	$(BIN)/python benchmarks/explore.py

bench-tune: $(STAMP)  ## tuning against Optuna with Keras: workers, a kill, a resume
	$(BIN)/python benchmarks/tune.py

bench-serve: $(STAMP)  ## serving speed against FastAPI, five serving frameworks, nginx and C, by wrk; an hour
	$(BIN)/python benchmarks/serve.py

bench-serve-mixed: $(STAMP)  ## ten minutes of mixed load with promotions, a killed worker and incoming labels
	$(BIN)/python benchmarks/serve_mixed.py

bench-quality: $(STAMP)  ## held-out error and its cost against CatBoost, LightGBM, FLAML, AutoGluon and MAPIE, on half of the tables; hours
	$(BIN)/python benchmarks/quality.py
	$(BIN)/python benchmarks/quality.py --report --frontier benchmarks/quality_frontier.svg

bench-leaks: $(STAMP)  ## leaks planted in public tables: how many are found, and how many good columns are called leaks
	$(BIN)/python benchmarks/leaks.py

bench-drift: $(STAMP)  ## drift: false alarms, power and delay against Evidently, NannyML and alibi-detect; an hour
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/drift.py

bench-promotion: $(STAMP)  ## how often an equal version is promoted, and how soon a better one
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/promotion.py

bench-loop: $(STAMP)  ## the loop left alone for eleven windows, against no and regular retraining; an hour
	$(BIN)/python benchmarks/loop.py

bench-scale: $(STAMP)  ## training on tables that outgrow memory: time, memory and disk by rows; an hour
	$(BIN)/python benchmarks/scale.py

bench-monitor: $(STAMP)  ## rows per second that the monitor keeps up with, and the server's latency meanwhile
	$(BIN)/python benchmarks/monitor.py

clean:  ## remove the environment and everything built
	rm -rf $(VENV) build dist models
