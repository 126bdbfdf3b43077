# Every command of this checkout. The environment .venv belongs to make.

HOST ?= 127.0.0.1
PORT ?= 8000
PYTHON ?=

export PYTHON
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test check bench ktls clean

demo: ## Serve example_apps/media on http://127.0.0.1:8000 (HOST= PORT= override)
	@scripts/set-up demo
	@exec .venv/bin/python -m example_apps.media --host $(HOST) --port $(PORT)

test: ## Lint, type check, test, then test the built wheel
	@scripts/install-system-packages
	@scripts/set-up dev
	@scripts/check
	@scripts/test
	@scripts/check-wheel

check: ## Lint and type check only
	@scripts/set-up dev
	@scripts/check

bench: ## Measure against other servers (ARGS="all --quick", ARGS=--help)
	@scripts/install-system-packages
	@scripts/set-up dev
	@exec .venv/bin/zc-response bench $(or $(ARGS),throughput)

ktls: ## Try TLS in the kernel, on a kernel in an emulator (PYTHON=python3.12 or newer)
	@exec scripts/ktls

clean: ## Remove .venv, caches and builds
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## List these commands
	@sed -n 's/^\([a-z]*\): ## \(.*\)/  make \1 	\2/p' $(MAKEFILE_LIST)
	@echo '  PYTHON=python3.13 chooses the Python of a new .venv'
