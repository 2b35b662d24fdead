# Two commands matter: `make demo` (see it work) and `make test` (everything that is checked).
# Each creates its own environment under .venv or .venv-demo; nothing outside the checkout is touched.
PYTHON ?= python3
VENV ?= .venv
DEMO_VENV ?= .venv-demo
ONCE ?=
TESTS ?=
JOBS ?= 3
.PHONY: demo test screenshots test-compose test-kubernetes test-slurm bench bench-quick bench-docs install lint lock clean

install: $(VENV)/.installed

$(VENV)/.installed: requirements/dev.txt agents/pyproject.toml services/pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e agents -e services
	touch $@

$(DEMO_VENV)/.installed: requirements/demo.txt agents/pyproject.toml services/pyproject.toml
	$(PYTHON) -m venv $(DEMO_VENV)
	$(DEMO_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/demo.txt
	$(DEMO_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e agents -e services
	touch $@

# The demo: a real Parsl workflow of about a minute. ONCE=1 checks the database against the workflow's own ledger.
demo: $(DEMO_VENV)/.installed
	PATH="$(CURDIR)/$(DEMO_VENV)/bin:$$PATH" $(DEMO_VENV)/bin/python examples/demo/run.py $(if $(ONCE),--once) demo-run

test: install
	tests/tools/need.sh
	tests/tools/helm.sh "$(CURDIR)/$(VENV)"
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" tests/tools/run.sh $(VENV)/bin/python $(JOBS) $(TESTS)

# The deployment by compose.yaml, on the Docker engine that is there: all of it in half an hour, QUICK=1 in five
# minutes.
test-compose: install
	tests/tools/docker.sh
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(VENV)/bin/python -m pytest -m "compose$(if $(QUICK), and not slow)" tests/deploy $(TESTS)

# The page on Slurm, on a cluster of a head and three nodes in containers.
test-slurm: install
	tests/tools/docker.sh
	$(VENV)/bin/python -m pytest -m slurm tests/slurm $(TESTS)

# The chart on a real Kubernetes: the one that kubectl reaches, or the one that a command brings (see the script).
test-kubernetes: install
	tests/tools/helm.sh "$(CURDIR)/$(VENV)"
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" tests/tools/kubernetes.sh
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(VENV)/bin/python -m pytest -m kubernetes tests/kubernetes $(TESTS)

# The pictures of the dashboard in the documentation, made by the test that opens every page.
screenshots: install
	HELIOGRAPH_SCREENSHOTS="$(CURDIR)/docs/images" $(VENV)/bin/python -m pytest -q tests/dashboard/test_screenshots.py

# Every goal of speed and scale with its figure, in a table and as build/bench.json: about half an hour on a quiet
# machine with 5 GB of disk free (HELIOGRAPH_BIG: a folder where the dashboard's large databases stay for the next time).
# bench-quick checks ratios only, within two minutes; bench-docs puts the figures of build/bench.json into docs/performance.md.
bench: install
	$(VENV)/bin/python -m tests.benchmarks.run --json build/bench.json

bench-quick: install
	$(VENV)/bin/python -m tests.benchmarks.run --quick

bench-docs: install
	$(VENV)/bin/python -m tests.benchmarks.plots build/bench.json

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" -o requirements/server.txt requirements/server.in
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" -o requirements/demo.txt requirements/demo.in
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" -o requirements/dev.txt requirements/dev.in

clean:
	rm -rf $(VENV) $(DEMO_VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis demo-run
