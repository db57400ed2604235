# make demo      the whole way on this machine, with what ships: no torch, no broker, no downloads
# make check     format, lint, types, imports, fast tests; no torch
# make test      everything: sets up what the tests need, then runs them
# make faults    the long sweeps of faults; SEED=N repeats one
# make coverage  lines and branches that no test runs, daemons and workers included
# make sbom      what the edge part is made of, as a CycloneDX bill of materials: build/sbom.cdx.json
# make bench     measures speed and memory: half an hour, on a quiet machine
# make wheels    a folder for installing without a network
# Environments: .venv has the edge part alone, .venv-dev what checks and tests need.

PYTHON ?= python3
PIP_FLAGS = --quiet --constraint deploy/constraints.txt
DEV = .venv-dev/bin
# Which tests run beside which, tests/conftest.py says.
TOGETHER = --dist loadscope --numprocesses
.DEFAULT_GOAL := help

.PHONY: help
help:
	@sed -n 's/^# //p' Makefile

.venv/.installed: pyproject.toml deploy/constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install $(PIP_FLAGS) --editable '.[cpu]'
	@touch $@

.venv-dev/.installed: pyproject.toml deploy/constraints.txt
	$(PYTHON) -m venv .venv-dev
	$(DEV)/pip install $(PIP_FLAGS) --editable '.[openvino,dev]'
	@touch $@

.venv-dev/.trainer: .venv-dev/.installed
	$(DEV)/pip install $(PIP_FLAGS) --editable '.[openvino,dev,train]'
	@touch $@

.PHONY: demo
demo: .venv/.installed
	.venv/bin/edge-agent demo

.PHONY: check
check: .venv-dev/.installed
	$(DEV)/ruff format --check .
	$(DEV)/ruff check .
	$(DEV)/mypy
	$(DEV)/lint-imports
	$(DEV)/pytest -q $(TOGETHER) 2 --hypothesis-profile quick -m 'not slow and not train and not broker and not faults'

.PHONY: test
test: .venv-dev/.trainer broker injectors browser prometheus machines typed node-red
	$(DEV)/pytest $(TOGETHER) 4 -m 'not faults'

.PHONY: faults
faults: .venv-dev/.installed broker injectors
	$(DEV)/pytest -m faults

# Of another share: make coverage TESTS=tests/unit/edge_agent/line FLOOR=0
TESTS ?= tests/unit tests/integration
# Percent of the agent. The fast unit tests and two files of tests/integration reach 86.
FLOOR ?= 85
.PHONY: coverage
coverage: .venv-dev/.trainer broker injectors
	@rm -rf build/coverage && mkdir -p build/coverage
	$(DEV)/coverage run -m pytest -q $(TOGETHER) 4 -m 'not faults' $(TESTS)
	$(DEV)/coverage combine --quiet
	$(DEV)/coverage html --quiet --directory build/coverage/html
	$(DEV)/coverage report
	$(DEV)/coverage report --include 'edge_agent/*' --fail-under $(FLOOR) --format total

# With the demo's bundle, or: make bench BUNDLE=RUN/bundle IMAGES=FOLDER OUT=docs/benchmarks.md
BUNDLE ?= edge_agent/demo/bundle
IMAGES ?= edge_agent/demo/images
OUT ?= bench.md
.PHONY: bench
bench: .venv-dev/.trainer broker
	$(DEV)/python -m tests.bench.everything $(BUNDLE) $(IMAGES) --out $(OUT)

# It is told the version: cyclonedx-py looks for it in pyproject.toml alone.
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' edge_agent/__init__.py)
.PHONY: sbom
sbom: .venv/.installed .venv-dev/.installed
	@mkdir -p build
	@sed 's/^dynamic = .*/version = "$(VERSION)"/' pyproject.toml > build/sbom.toml
	$(DEV)/cyclonedx-py environment --pyproject build/sbom.toml --output-reproducible \
	  --output-file build/sbom.cdx.json .venv/bin/python

# The tests talk to a real mosquitto.
.PHONY: broker
broker:
	@command -v mosquitto_rr >/dev/null && { command -v mosquitto >/dev/null || \
	  [ -x /usr/sbin/mosquitto ]; } || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends mosquitto mosquitto-clients; \
	  else \
	    echo "mosquitto is not installed: the tests that need a broker are skipped"; \
	  fi; }

# Some faults are put in at the system call, or at the filesystem.
.PHONY: injectors
injectors:
	@command -v strace >/dev/null && [ -x /sbin/mkfs.ext4 ] || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends strace e2fsprogs; \
	  else \
	    echo "strace or mkfs.ext4 is not installed: the tests that need it are skipped"; \
	  fi; }

# Alert rules and the dashboard are held to a real Prometheus.
.PHONY: prometheus
prometheus:
	@command -v prometheus >/dev/null && command -v promtool >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus; \
	  else \
	    echo "prometheus is not installed: the tests that need it are skipped"; \
	  fi; }

# And look at the report in a real browser.
.PHONY: browser
browser:
	@command -v chromium >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && \
	    apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; \
	  else \
	    echo "chromium is not installed: the tests that need a browser are skipped"; \
	  fi; }

# And install the service in a booted system, and run the container.
MACHINES = mmdebstrap systemd-container uidmap shellcheck \
  buildah podman runc iptables netavark aardvark-dns catatonit
.PHONY: machines
machines:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  dpkg -s $(MACHINES) >/dev/null 2>&1 && command -v kubectl >/dev/null || { apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(MACHINES) \
	  $$(command -v kubectl >/dev/null || echo kubernetes-client); }; \
	else \
	  echo "not root on Debian: the tests of the service and of the container are skipped"; \
	fi

# And type what the documentation tells people to type: cameras deliver by real servers.
TYPED = proftpd-core samba smbclient sqlite3 curl
.PHONY: typed
typed:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  dpkg -s $(TYPED) >/dev/null 2>&1 || { apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(TYPED); }; \
	else \
	  echo "not root on Debian: tests with an FTP or SMB server, sqlite3 or curl may be skipped"; \
	fi

# The alarm's flow is run by a real Node-RED.
.PHONY: node-red
node-red:
	@[ -x build/node-red/node_modules/.bin/node-red ] || { \
	  if command -v npm >/dev/null; then mkdir -p build/node-red && npm install --prefix build/node-red \
	    --no-audit --no-fund --no-update-notifier --silent node-red@4.1.15; \
	  else echo "npm is not installed: the test of the Node-RED flow is skipped"; fi; }

# What an installation without a network needs: make wheels RUNTIME=cpu WHEELS=FOLDER
# On a machine with the line PC's version of Python.
RUNTIME ?= cpu
WHEELS ?= wheels
.PHONY: wheels
wheels:
	@rm -rf build/wheels && mkdir -p build/wheels
	@cp -r edge_agent trainer pyproject.toml README.md LICENSE build/wheels
	$(PYTHON) -m pip wheel $(PIP_FLAGS) --wheel-dir $(WHEELS) './build/wheels[$(RUNTIME)]'
	@rm -rf build/wheels

.PHONY: demo-bundle
demo-bundle: .venv-dev/.trainer
	$(DEV)/python -m trainer.demo_bundle edge_agent/demo

.PHONY: clean
clean:
	rm -rf .venv .venv-dev build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
