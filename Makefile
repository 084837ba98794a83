# Each target sets up what it needs. PYTHON picks the interpreter that makes .venv (3.11 or newer).
PYTHON ?= python3
BIN := .venv/bin
# torch publishes a build with gigabytes of CUDA under the same version; this index has the one for CPUs.
# Leave it empty where pip's own configuration already has a CPU build.
TORCH_INDEX ?=

# Tests start hundreds of Pythons: what one has compiled the next ones read, whatever the environment says.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run check quick test test-full campaign lint types setup setup-dev browser tools bundle twins docs clean

run: setup
	$(BIN)/suite run --device local

# What a change is checked with again and again: all but the tests that need twins, a browser, whole runs or real exports.
check: setup-dev tools
	$(MAKE) --jobs=10 --output-sync=target --keep-going lint types quick

# In parts, each of them one process: a worker of pytest-xdist takes ten seconds to import what all files together need,
# as long as many tests. What lies in no folder named here is in the part `others`. Sensors, holds, faults and links mostly wait.
PARTS := sensors holds faults links devices runner suite store workloads others
TESTS_sensors := tests/devices/runner/test_runner_program_sensor.py tests/devices/runner/test_runner_sampler.py \
                 tests/suite/measuring/test_meter.py
TESTS_store := $(addprefix tests/suite/,store exchange recovery retention results)
TESTS_suite := tests/suite $(TESTS_sensors:%=--ignore=%) $(TESTS_store:%=--ignore=%)
TESTS_workloads := tests/workloads
TESTS_runner := tests/devices/runner tests/devices/runner_builds $(TESTS_sensors:%=--ignore=%)
TESTS_holds := $(wildcard tests/devices/transports/test_*hold*.py)
TESTS_faults := $(wildcard tests/devices/transports/test_link_*.py)
TESTS_links := tests/devices/transports $(TESTS_holds:%=--ignore=%) $(TESTS_faults:%=--ignore=%)
TESTS_devices := tests/devices --ignore=tests/devices/runner --ignore=tests/devices/runner_builds --ignore=tests/devices/transports
TESTS_others := tests --ignore=tests/suite --ignore=tests/workloads --ignore=tests/devices

.PHONY: $(PARTS:%=quick-%)
quick: $(PARTS:%=quick-%)
$(PARTS:%=quick-%): quick-%: setup-dev tools
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "not full and not twins and not browser and not end_to_end and not slow" $(TESTS_$*)

# Tests on twins, holds and browsers wait: more workers than cores. They lie beside one another: a worker that has
# nothing left takes some of the others.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 3)
test: setup-dev browser tools
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not full"

test-full: setup-dev browser tools
	$(BIN)/python -m pytest

# Kills, full disks, damaged files and odd requests (docs/promises.md). CAMPAIGN="--minutes 60 --seed 7" for more.
CAMPAIGN ?=
campaign: setup-dev compiler
	$(BIN)/python -m tests.campaign $(CAMPAIGN)

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup-dev
	$(BIN)/mypy

# A dead link fails (with --quiet it would not). Pages, commands among them: build/docs/index.html.
docs: setup-dev
	$(BIN)/mkdocs build --strict

setup: .venv/installed compiler
setup-dev: .venv/installed-dev compiler

.venv/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -qq --upgrade pip
	$(BIN)/python -m pip install -qq $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0
	$(BIN)/python -m pip install -qq --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install -qq --editable '.[dev]'
	touch $@

# The runner needs a C++ compiler, the report tests a browser; both come from the system's packages.
.PHONY: compiler
compiler:
	@command -v c++ >/dev/null || command -v g++ >/dev/null || .ci/system-packages g++

browser:
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || .ci/system-packages chromium chromium-driver

# Real daemons and the shells of boards and phones, which tests talk to.
tools:
	@command -v sshd >/dev/null && command -v busybox >/dev/null && command -v mksh >/dev/null && command -v toybox >/dev/null \
		&& command -v systemd-analyze >/dev/null || .ci/system-packages $(TEST_PACKAGES)

TEST_PACKAGES := openssh-server openssh-client busybox-static mksh toybox systemd

# The runner for boards and phones, with its own C library (docs/bundle.md). The first run that needs it builds it too.
bundle: setup cross-compiler
	$(BIN)/python -m suite.preparing.runners

# Emulated devices for tests, made as root (docs/twins.md).
twins: setup-dev cross-compiler twin-packages
	$(BIN)/python -m tests.support.twins.prepare_twins

.PHONY: twin-packages
twin-packages:
	@test -e /usr/share/keyrings/debian-archive-keyring.gpg || exec .ci/system-packages $(TWIN_PACKAGES)
	@for tool in $(TWIN_TOOLS); do command -v $$tool >/dev/null || exec .ci/system-packages $(TWIN_PACKAGES); done

TWIN_TOOLS := mmdebstrap arch-test qemu-aarch64-static update-binfmts ssh openssl ip nsenter adb cpio qemu-system-aarch64
TWIN_PACKAGES := mmdebstrap arch-test debian-archive-keyring qemu-user-static binfmt-support openssh-client openssl \
	iproute2 util-linux adb cpio qemu-system-arm

.PHONY: cross-compiler
cross-compiler:
	@command -v aarch64-linux-gnu-g++ >/dev/null || .ci/system-packages g++-aarch64-linux-gnu

clean:
	rm -rf .venv .suite build
