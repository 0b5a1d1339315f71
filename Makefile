# make demo · make test: everything else is for people who change the code. `make help` lists it.
PYTHON ?= python3
VENV   ?= .venv
NEWEST ?= .venv-newest
ARGS   ?=

# Where torch comes from, if not from pip's own index. torch's CPU build on Linux:
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=

BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
NATIVE := engine/vllm_local/kernels/cpu/native
INPUTS := pyproject.toml constraints.txt $(wildcard $(NATIVE)/*.cpp $(NATIVE)/*.h) $(NATIVE)/CMakeLists.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo picture test test-slow test-all check fmt docs bench bench-engine bench-server bench-schema bench-structure build sanitize test-newest clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  Variables: PYTHON=python3.12, VENV=.venv, TORCH_INDEX=<index url>, ARGS=<more for pytest or the benchmark>"

demo: $(VENV)/.installed ## Install, then run a chain on the starter model in this terminal
	@$(BIN)/python examples/demo.py

picture: $(VENV)/.installed ## Run the demo and draw its terminal for the README (docs/images/demo.svg)
	@$(BIN)/python examples/demo.py --svg docs/images/demo.svg

test: $(VENV)/.installed-dev ## Install, then run the test suite, docs included, except what is marked slow
	$(BIN)/python -m pytest $(ARGS)

test-slow: $(VENV)/.installed-dev ## Run the tests marked slow
	$(BIN)/python -m pytest -m slow $(ARGS)

test-all: $(VENV)/.installed-dev ## Run every test
	$(BIN)/python -m pytest -m "" $(ARGS)

check: $(VENV)/.installed-dev ## Lint, format, types, import directions
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layering.py

fmt: $(VENV)/.installed-dev ## Format, and fix what ruff can fix
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

docs: $(VENV)/.installed-dev ## Run every code block of the README and docs/, and follow every relative link
	$(BIN)/python -m pytest tests/test_docs.py $(ARGS)

bench: bench-engine ## The same as bench-engine

bench-engine: $(VENV)/.installed-bench ## Measure the engine beside llama.cpp and transformers (tables and plots)
	$(BIN)/python benchmarks/engine.py $(ARGS)

bench-server: $(VENV)/.installed-dev ## Measure the server: start, memory, /health under load, share of the CPU
	$(BIN)/python benchmarks/server.py $(ARGS)

bench-schema: $(VENV)/.installed-dev ## Measure how much of JSON schema is kept, over schemas from PyPI
	$(BIN)/python benchmarks/json_schema.py $(ARGS)

bench-structure: $(VENV)/.installed-dev ## Measure what grammars cost: masks, compiling beside a stream, JSON beside text
	$(BIN)/python benchmarks/structured_output.py $(ARGS)

build: $(VENV)/.installed-dev ## Build the sdist, this platform's wheel and the pure-Python one into dist/
	$(BIN)/python -m build
	$(BIN)/python -m build --wheel -C wheel.cmake=false

# torch's own leaks are not ours to find, and Python's allocator would hide what ours does with its buffers.
sanitize: $(VENV)/.installed-dev ## Test the native kernels with the address and undefined-behaviour sanitizers
	cmake -S $(NATIVE) -B build/sanitize -DSANITIZE=ON
	cmake --build build/sanitize --parallel
	LD_PRELOAD=$$($${CXX:-c++} -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc \
	  VLLM_LOCAL_KERNELS=native VLLM_LOCAL_KERNELS_LIBRARY=$(CURDIR)/build/sanitize/libvllm_local_kernels.so \
	  $(BIN)/python -m pytest tests/engine/kernels/cpu -p no:cacheprovider $(ARGS)

test-newest: $(NEWEST)/.installed ## Run the tests with the newest version of everything but torch
	$(NEWEST)/bin/python -m pytest $(ARGS)

clean: ## Remove environments, builds and caches
	rm -rf .venv .venv-newest build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

# A directory that a failed `venv` left behind would look finished the next time, so it goes.
%/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v < (3, 14) else f"This needs Python 3.10 to 3.13, and $(PYTHON) is {v[0]}.{v[1]}: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $* || { rm -rf $*; exit 1; }

# torch goes first and alone if it has an index of its own.
define install
	$(if $(TORCH_INDEX),$(PIP) install --index-url $(TORCH_INDEX) -c constraints.txt torch)
	$(PIP) install -c constraints.txt -e ".$(EXTRAS)"
endef

$(VENV)/.installed: $(INPUTS) | $(BIN)/python
	$(install)
	@touch $@

$(VENV)/.installed-dev: EXTRAS := [test,dev,train,bench]
$(VENV)/.installed-dev: $(INPUTS) | $(BIN)/python
	$(install)
	@touch $(VENV)/.installed $@

# The same environment, since torch, transformers and the kernels are there. llama.cpp is compiled on the way, which takes
# minutes, so no other target asks for it.
$(VENV)/.installed-bench: EXTRAS := [test,dev,train,bench,bench-engine]
$(VENV)/.installed-bench: $(INPUTS) | $(BIN)/python
	$(install)
	@touch $(VENV)/.installed $(VENV)/.installed-dev $@

# What "newest" means changes daily, so this one upgrades whenever a day has passed.
$(NEWEST)/.installed: $(INPUTS) FORCE | $(NEWEST)/bin/python
	@if [ -z "$$(find $@ -mtime -1 -newer pyproject.toml 2>/dev/null)" ]; then \
	  set -ex; \
	  grep '^torch==' constraints.txt > $(NEWEST)/torch.txt; \
	  $(if $(TORCH_INDEX),$(NEWEST)/bin/python -m pip install --index-url $(TORCH_INDEX) -c $(NEWEST)/torch.txt torch;) \
	  $(NEWEST)/bin/python -m pip install --upgrade --upgrade-strategy eager -c $(NEWEST)/torch.txt -e ".[test,train,bench]"; \
	  touch $@; \
	fi

.PHONY: FORCE
FORCE:

.PRECIOUS: %/bin/python
