# Everything made here stays here: environments in .venv*, the wheel in dist/. `make clean` removes them.

PYTHON ?= python3
PORT ?= 8080

INSTALL = -m pip install --quiet --disable-pip-version-check
PACKAGE = setup.py pyproject.toml $(wildcard README.md $(shell find chi -name "*.py") chi/*.html chi/py.typed)

# bottle 0.12 imports cgi, which Python 3.13 no longer has: there, the oldest that can run is 0.13.0.
OLDEST_BOTTLE = $(shell $(PYTHON) -c 'import sys; print("0.12.23" if sys.version_info < (3, 13) else "0.13.0")')
OLDEST = bottle==$(OLDEST_BOTTLE) waitress==2.1.2

.PHONY: help demo test lint bench deb ipk apk e2e clean
# Also under -j: pip's builds share this directory, and two test runs at once would disturb each other's clocks.
.NOTPARALLEL:

help: ## this list
	@sed -n 's/^\([a-z0-9]*\):.*## /  make \1	/p' Makefile | expand -t 16

demo: .venv/.ready ## serve the simulated miner at http://localhost:8080/ (PORT=8081 for another port)
	.venv/bin/chi-server --demo --http_port $(PORT)

# The run with coverage comes last, so that its summary is what one sees.
test: .venv-oldest/.ready .venv-newest/.ready .venv-wheel/.ready lint ## linters, the suite with the oldest and newest dependencies, the wheel
	@echo "== oldest dependencies: $(OLDEST) (bottle 0.12 runs up to Python 3.12)"
	.venv-oldest/bin/python -m pytest -m "not wheel"
	@echo "== newest dependencies, with coverage and the built wheel"
	.venv-newest/bin/python -m pytest --cov --cov-report=term-missing:skip-covered --cov-fail-under=100

lint: .venv-newest/.ready ## ruff, mypy and the layering
	.venv-newest/bin/ruff check
	.venv-newest/bin/mypy
	.venv-newest/bin/lint-imports

bench: .venv-wheel/.ready ## what chi costs, against a bare bottle + waitress application (about 3 minutes)
	.venv-wheel/bin/python tests/bench/bench.py

deb: ## the Debian package, built in a trixie system, in dist/ (as root)
	tests/e2e/debian/run build trixie dist

ipk: ## the package for OpenWrt 24.10, in dist/ (needs Python 3.11)
	$(PYTHON) packaging/openwrt/build ipk

apk: ## the package for OpenWrt 25.12, in dist/ (needs Python 3.13 and apk-tools 3)
	$(PYTHON) packaging/openwrt/build apk

e2e: ## the packages, a browser and Prometheus, for real (as root, about 15 minutes)
	tests/e2e/openwrt/run
	tests/e2e/monitoring/run
	tests/e2e/browser/run
	tests/e2e/debian/run

clean: ## remove everything that was made
	rm -rf .venv .venv-* build dist *.egg-info .coverage .coverage.* htmlcov
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find chi tests -name __pycache__ -prune -exec rm -rf {} +

.venv/.ready: WHAT = -e .
.venv-oldest/.ready: WHAT = -e '.[test]' $(OLDEST)
.venv-newest/.ready: WHAT = -e '.[test]'
.venv/.ready .venv-oldest/.ready .venv-newest/.ready: setup.py chi/__init__.py
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python $(INSTALL) $(WHAT)
	touch $@

# What a user gets: the wheel and its dependencies in an environment with nothing else. A build/ left over
# from before would put files into the wheel that are no longer in chi/.
.venv-wheel/.ready: $(PACKAGE)
	rm -rf build dist/*.whl
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	$(@D)/bin/python $(INSTALL) dist/*.whl
	touch $@
