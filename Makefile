# Everything runs in .venv, which the first command sets up from constraints.txt (hashes checked).
# Model servers that pin a world of their own have a virtual environment each, in build/venvs.
# Needed beforehand: Python 3.11 or later with venv, and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
PIP := $(PY) -m pip --disable-pip-version-check
PYTEST_ARGS ?=
# Test files are run by so many processes at once: more than cores, for many wait for servers.
JOBS ?= 3
QUICKLY := -m "not long"
THOROUGHLY := --hypothesis-profile=thorough
HOW := $(QUICKLY)
# Python keeps what it compiles, whatever the environment says. Tests start Python some hundreds
# of times, and a `stoker up` that compiles itself takes a third more CPU to begin.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test test-all format lint types layers tests coverage bench bench-quick \
	constraints docs clean clients browser peers promtool

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' Makefile

# --- setting up ---

# $(call install,HEADING): what stands in constraints.txt before HEADING, exactly that, verified.
define install
	@sed '/^# --- make $(1) ---$$/,$$d' constraints.txt > $(VENV)/requirements.txt
	$(PIP) install --quiet --require-hashes --no-deps -r $(VENV)/requirements.txt
endef

$(VENV)/demo: constraints.txt pyproject.toml stoker/__init__.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or later is needed; $(PYTHON) is `$(PYTHON) -V 2>&1`." \
		"Name another with make PYTHON=python3.12 ..."; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv $(VENV) || { \
		rm -rf $(VENV); echo "On Debian: apt-get install python3-venv"; exit 1; }
	$(call install,test)
	$(PIP) install --quiet --no-deps --no-build-isolation --no-index --editable .
	@touch $@

$(VENV)/test: $(VENV)/demo
	$(call install,bench)
	@touch $@

$(VENV)/bench: $(VENV)/test
	$(call install,nothing)
	@touch $@

MLSERVER := build/venvs/mlserver

$(MLSERVER)/ready: examples/mlserver/requirements.txt | $(VENV)/demo
	$(PYTHON) -m venv $(MLSERVER)
	$(MLSERVER)/bin/python -m pip --disable-pip-version-check install --quiet \
		--require-hashes --no-deps -r $<
	@touch $@

# $(call debian,PROGRAMS,PACKAGES): installs what is missing; says so where it cannot.
define debian
	@missing() { for name in $(1); do command -v $$name >/dev/null || echo $$name; done; }; \
	test -z "`missing`" || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
		apt-get install -qq -y --no-install-recommends $(2); } || \
	for name in `missing`; do \
		echo "missing: $$name; apt-get could not install it (are you root?), going on without"; \
	done
endef

promtool: ## what tests check alerts and metrics with: promtool from Debian
	$(call debian,promtool,prometheus)

clients: ## what tests ask with: curl, h2load and wrk from Debian
	$(call debian,curl h2load wrk,curl nghttp2-client wrk)

browser: ## what tests look at pages with: Chromium from Debian
	$(call debian,chromium,chromium fonts-dejavu-core)

setup: $(VENV)/test ## .venv with everything that tests need

# --- the two commands ---

demo: $(VENV)/demo ## wake a real model from zero, scale it out, put it back to sleep
	$(PY) -m examples.digits.demo

# mypy has no use for a second core, and takes a minute where nothing is cached: beside the tests.
test: lint layers ## format, lint, types, layers, tests, coverage floors
	@$(MAKE) --no-print-directory -j2 types tests
	@$(MAKE) --no-print-directory coverage

test-all: lint types layers peers ## the same with what takes long, and every benchmark once, quickly
	@$(MAKE) --no-print-directory tests coverage HOW=$(THOROUGHLY)
	@$(MAKE) --no-print-directory bench-quick

# --- their parts ---

lint: $(VENV)/test ## ruff: format and lint
	$(BIN)/ruff format --check --quiet . || { $(BIN)/ruff format --diff .; exit 1; }
	$(BIN)/ruff check --quiet .

types: $(VENV)/test ## mypy, strict
	$(BIN)/mypy

layers: $(VENV)/test ## import-linter: who may import whom
	$(BIN)/lint-imports --no-logo

# In the order of their names: what comes last, tests/stoker, is many short ones, so that all
# processes end at about the same time. By number of tests, the few longest would come last.
tests: $(VENV)/test $(MLSERVER)/ready clients browser promtool ## pytest under coverage; PYTEST_ARGS='-k name' for some
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n $(JOBS) --dist loadfile \
		--no-loadscope-reorder $(HOW) $(PYTEST_ARGS)

coverage: $(VENV)/test ## the floors, of the tests that ran last
	@-$(BIN)/coverage combine --quiet
	$(PY) -m tools.coverage_floors

format: $(VENV)/test ## ruff: rewrite in place
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# --- now and then ---

BENCHMARKS := decider wake proxy holds chaos fidelity simulate

peers: $(VENV)/bench ## what benchmarks compare with: nginx, HAProxy, Envoy, Go; and what loads them
	$(call debian,nginx haproxy wrk h2load,nginx-light haproxy wrk nghttp2-client)
	@$(PY) -m benchmarks.build_go || true

bench: peers ## all benchmarks, in full
	for name in $(BENCHMARKS); do $(PY) -m benchmarks.$$name || exit 1; done

# A figure that is missed on a busy machine (exit 1) is shown, and is no failure here.
bench-quick: peers ## all benchmarks, within 50 s each; figures in build/benchmarks
	@mkdir -p build/benchmarks
	for name in $(BENCHMARKS); do file=build/benchmarks/$$name.json; rm -f $$file; \
		$(PY) -m benchmarks.$$name --quick --json $$file || [ $$? -eq 1 ] || exit 1; \
		$(PY) -m json.tool $$file >/dev/null || exit 1; done

docs: $(VENV)/demo ## write docs/settings.md and docs/metrics.md anew
	$(PY) -m stoker.reference docs

constraints: ## resolve anew, write constraints.txt
	$(PYTHON) -m venv build/constraints
	build/constraints/bin/python -m pip install --quiet pip-tools
	build/constraints/bin/python -m tools.constraints

clean: ## remove .venv and all that was made
	rm -rf $(VENV) build dist .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache \
		.import_linter_cache .hypothesis
