# Everything made here stays here: environments in .venv*, the wheel in dist/. `make clean` removes them.

PYTHON ?= python3
PORT ?= 8080

INSTALL = -m pip install --quiet --disable-pip-version-check
PACKAGE = setup.py pyproject.toml $(wildcard README.md $(shell find chi -name "*.py") chi/*.html chi/py.typed)

# bottle 0.12 imports cgi, which Python 3.13 no longer has: there, the oldest that can run is 0.13.0.
OLDEST_BOTTLE = $(shell $(PYTHON) -c 'import sys; print("0.12.23" if sys.version_info < (3, 13) else "0.13.0")')
OLDEST = bottle==$(OLDEST_BOTTLE) waitress==2.1.2
# Tests that use bottle and waitress; number of tests at once
TOUCHES = tests/server tests/test_app.py tests/test_access.py
JOBS ?= 2

.PHONY: help demo test suite test-busy coverage properties lint bench deb ipk apk release e2e e2e-all clean
# Also under -j: pip's builds share this directory.
.NOTPARALLEL:

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /  make \1	/p' Makefile | expand -t 16

demo: .venv/.ready ## serve a simulated miner; open http://localhost:8080/dashboard (PORT=8081 for another port)
	.venv/bin/chi-server --demo --http_port $(PORT)

test: .venv-oldest/.ready .venv-newest/.ready .venv-wheel/.ready lint ## linters, all tests, the wheel; what touches bottle and waitress also with the oldest versions
	$(MAKE) --no-print-directory suite

# The tests alone, without the linters.
suite: .venv-oldest/.ready .venv-newest/.ready .venv-wheel/.ready
	@echo "== newest dependencies, and the built wheel"
	.venv-newest/bin/python -m pytest -n $(JOBS) --dist worksteal -m "not heavy"
	@echo "== oldest dependencies, for what touches them: $(OLDEST) (bottle 0.12 runs up to Python 3.12)"
	.venv-oldest/bin/python -m pytest -n $(JOBS) --dist worksteal -m "not wheel and not heavy" $(TOUCHES)

test-busy: .venv-oldest/.ready .venv-newest/.ready .venv-wheel/.ready ## the tests alone, three times, with four busy loops running
	for _ in 1 2 3; do tests/busy $(MAKE) --no-print-directory suite || exit 1; done

coverage: .venv-newest/.ready ## the tests with coverage: every branch of chi/ is reached
	.venv-newest/bin/python -m pytest -n $(JOBS) --dist worksteal -m "not wheel and not heavy" --cov --cov-report=term-missing:skip-covered \
		--cov-fail-under=100

properties: .venv-newest/.ready ## the property tests with many examples, the verdict with miner-years
	CHI_EXAMPLES=many .venv-newest/bin/python -m pytest -n $(JOBS) --dist worksteal -m "hypothesis or heavy or thorough"
	CHI_LIVES=2 .venv-newest/bin/python -m pytest -o faulthandler_timeout=0 -n $(JOBS) tests/status/test_simulation.py

lint: .venv-newest/.ready ## ruff, mypy and the layering
	.venv-newest/bin/ruff check
	.venv-newest/bin/mypy
	.venv-newest/bin/lint-imports

bench: .venv-wheel/.ready ## what chi costs, against a bare bottle + waitress application (about 5 minutes)
	.venv-wheel/bin/python tests/bench/bench.py

deb: ## the Debian package, built in a trixie system, in dist/ (as root)
	tests/e2e/debian/run build trixie dist

ipk: ## the package for OpenWrt 24.10, in dist/ (needs Python 3.11)
	$(PYTHON) packaging/openwrt/build ipk

apk: ## the package for OpenWrt 25.12, in dist/ (needs Python 3.13 and apk-tools 3)
	$(PYTHON) packaging/openwrt/build apk

release: .venv-release/.ready ## all packages and their repository, in dist/ (VERSION=1.2.0 KEY=… URL=…; as root)
	$(if $(VERSION),,$(error make release VERSION=1.2.0 [KEY=the key that signs] [URL=where dist/repo will be]))
	.venv-release/bin/python packaging/release/build.py $(VERSION) $(if $(KEY),--key "$(KEY)") $(if $(URL),--url "$(URL)")

e2e: properties ## the property tests; OpenWrt, Prometheus and the pages for real (as root, about 15 minutes)
	tests/e2e/openwrt/run
	tests/e2e/monitoring/run
	tests/e2e/browser/run

e2e-all: e2e ## that, and the Debian package on booted systems (as root, about 25 minutes)
	tests/e2e/debian/run

clean: ## remove everything that was made
	rm -rf .venv .venv-* build dist *.egg-info .coverage .coverage.* htmlcov
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find chi tests -name __pycache__ -prune -exec rm -rf {} +

.venv/.ready: WHAT = -e .
.venv-oldest/.ready: WHAT = -e . pytest pytest-xdist hypothesis $(OLDEST)
.venv-newest/.ready: WHAT = -e '.[test]'
.venv/.ready .venv-oldest/.ready .venv-newest/.ready: setup.py chi/__init__.py
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python $(INSTALL) $(WHAT)
	touch $@

.venv-release/.ready:
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python $(INSTALL) build
	touch $@

# What a user gets: the wheel and its dependencies in an environment with nothing else. A build/ left over
# from before would put files into the wheel that are no longer in chi/.
.venv-wheel/.ready: $(PACKAGE)
	rm -rf build dist/*.whl
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	$(@D)/bin/python $(INSTALL) dist/*.whl
	touch $@
