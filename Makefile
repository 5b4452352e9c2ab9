# tinykit. `make demo` and `make test` do everything, set-up included; `make help` lists the rest.
# No question is asked and sudo is not used unless you say SYSTEM=1.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

VENV    := .venv
BIN     := $(VENV)/bin
STAMPS  := $(VENV)/stamps
EXTRAS  := dev
EXAMPLE := examples/gesture_personalization
APT     := gcc libc6-dev gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm
ROUTE   := $(if $(or $(SYSTEM),$(filter 0,$(shell id -u))),apt,pip)

# TARGET=unicorn, qemu or renode says where the demo runs; without it: QEMU if installed, else Unicorn
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PLATFORMIO_SETTING_ENABLE_TELEMETRY := no
export PLATFORMIO_DISABLE_UPGRADE_CHECK := true
export TF_CPP_MIN_LOG_LEVEL ?= 2

# The first Python that is new enough and can make a virtual environment; PYTHON=… overrides.
USABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
CANDIDATES := $(or $(PYTHON),python3.11 python3.12 python3.13 python3 /usr/bin/python3)

help:  ## this list
	@echo 'usage: make TARGET'
	@sed -n 's/^\([a-z]*\):.*  ## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

demo: setup  ## train, build, run, learn on the device, verify (TARGET=unicorn|qemu|renode)
	@$(BIN)/python $(EXAMPLE)/demo.py $(addprefix --target ,$(TARGET)) $(ARGS)

test: setup  ## the whole test suite (ARGS="-k name" to choose)
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

setup: $(STAMPS)/python $(STAMPS)/compiler  ## .venv with everything in it, cross compiler, emulators

fuzz: setup  ## random graphs, TFLM = NumPy = C (GRAPHS=1000 SEED=0), or damaged files (DAMAGED=10000)
	@$(BIN)/python -m tests.support.$(if $(DAMAGED),damage --files $(DAMAGED),fuzz --graphs \
	    $(or $(GRAPHS),1000)) --seed $(or $(SEED),0)

lint: setup  ## ruff, mypy --strict, clang-format, C warnings as errors
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/clang-format --dry-run -Werror $(C_FILES)
	@$(BIN)/python -c 'import pathlib, tests.devices.scratch as s; s.write_scratch(pathlib.Path("$(LINT)"))'
	@for file in $(C_CHECKED); do $(C_CHECK) $$file || exit 1; done
	@echo 'lint: clean'

bench: setup  ## the measurements behind the README's numbers
	@$(BIN)/python -m bench $(ARGS)

bounds: setup  ## measure the code and stack bounds of every compiler that is installed
	@$(BIN)/python -m tinykit.build.measure_bounds $(ARGS)

docs: setup  ## write the pages and the picture of docs/ that the code prints
	@$(BIN)/python -m tinykit.report.docs docs
	@$(BIN)/tinykit build -C $(EXAMPLE) >/dev/null
	@$(BIN)/tinykit size -C $(EXAMPLE) --picture docs/memory.svg

format:  ## let the formatters write
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format . && $(BIN)/clang-format -i $(C_FILES)

wheel: setup  ## dist/*.whl, with firmware, boards and examples inside
	@$(BIN)/python -m build --wheel --no-isolation --outdir dist .

clean:  ## remove what was built and cached; .venv stays (make distclean removes it too)
	@rm -rf build dist .pio .cache .ruff_cache .hypothesis examples/*/build examples/*/.cache
	@find examples firmware tinykit tests -name __pycache__ -prune -exec rm -rf {} +
	@rm -rf examples/*/build

distclean: clean
	@rm -rf $(VENV)

# --- C sources -----------------------------------------------------------------------------------

C_FILES   = $(shell git ls-files 'firmware/*.c' 'firmware/*.h' 'tests/*.c' 'examples/*.c' 'bench/*.c')
C_CHECKED = $(shell git ls-files 'firmware/lib/*.c' 'firmware/src/*.c')
C_CHECK   = gcc -std=c11 -fsyntax-only -O2 -ffp-contract=off -Wall -Wextra -Wconversion \
            -Wdouble-promotion -Werror -DTK_TRACE=1 -Ifirmware/lib/tinykit/include -I$(LINT) \
            -Ifirmware/platform/tinykit-cortexm/support
# a small model's header, for the firmware that includes one
LINT      = .cache/lint

# --- set-up: each stamp is made once, then nothing needs the network ----------------------------------

$(STAMPS)/python: pyproject.toml
	@python=; for candidate in $(CANDIDATES); do \
	    if "$$candidate" -c '$(USABLE)' >/dev/null 2>&1; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	    echo 'error: no Python 3.11 or newer with the venv module was found' >&2; \
	    echo 'hint:  Debian/Ubuntu: sudo apt-get install python3 python3-venv' >&2; \
	    echo '       elsewhere: install Python 3.11, or say make PYTHON=/path/to/python3.11' >&2; \
	    exit 1; \
	fi; \
	[ -x $(BIN)/python ] && $(BIN)/python -c '$(USABLE)' 2>/dev/null \
	    || { echo "setup: creating $(VENV) with $$python"; rm -rf $(VENV); "$$python" -m venv $(VENV); }
	@echo 'setup: installing Python packages (a few minutes, once)'
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=23.1'
	@$(BIN)/python -m pip install --quiet --editable '.[$(EXTRAS)]' || { \
	    echo 'error: pip could not install tinykit and its packages (see above)' >&2; \
	    echo 'hint:  this step needs PyPI or a mirror of it; run make again when it is reachable' >&2; \
	    exit 1; }
	@mkdir -p $(STAMPS) && touch $@

# The cross compiler and QEMU come from apt (as root or with SYSTEM=1); else the compiler is clang
# from PyPI and the emulator is Unicorn, which is installed anyway.
$(STAMPS)/compiler: $(STAMPS)/python $(STAMPS)/system-$(ROUTE)
	@if ! command -v arm-none-eabi-gcc >/dev/null; then \
	    echo 'setup: installing a cross compiler from PyPI (ziglang)'; \
	    $(BIN)/python -m pip install --quiet --editable '.[$(EXTRAS),zig]'; \
	fi
	@touch $@

$(STAMPS)/system-apt: | $(STAMPS)/python
	@if command -v arm-none-eabi-gcc >/dev/null && command -v qemu-system-arm >/dev/null \
	    && command -v gcc >/dev/null; then \
	    :; \
	elif ! command -v apt-get >/dev/null; then \
	    echo 'setup: no apt-get here; going on without QEMU'; \
	else \
	    echo 'setup: installing $(APT)'; \
	    as_root=; [ "$$(id -u)" = 0 ] || as_root=sudo; \
	    export DEBIAN_FRONTEND=noninteractive; log=$$(mktemp); \
	    { $$as_root apt-get update && $$as_root apt-get install -y --no-install-recommends $(APT); } \
	        >"$$log" 2>&1 </dev/null \
	        || { tail -n 5 "$$log"; echo 'setup: apt-get failed; going on without it'; }; \
	    rm -f "$$log"; \
	fi
	@touch $@

$(STAMPS)/system-pip: | $(STAMPS)/python
	@missing=; for tool in gcc arm-none-eabi-gcc qemu-system-arm; do \
	    command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	if [ -n "$$missing" ]; then \
	    echo "setup: not installed here:$$missing"; \
	    echo 'setup: clang and Unicorn from PyPI are used instead of the last two. To have all'; \
	    echo '       of them say make SYSTEM=1, or'; \
	    echo '           sudo apt-get install $(APT)'; \
	fi
	@touch $@

.PHONY: help demo test fuzz setup lint bench bounds docs format wheel clean distclean
