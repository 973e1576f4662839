# Smart Pingliang Agriculture. `make help` lists what can be made.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PY := .venv/bin/python
MANAGE := $(PY) manage.py
SERVE ?= 1
PORT ?= 8000
PYTEST_ARGS ?=
export PYTHONUNBUFFERED := 1

.PHONY: help setup demo serve test check format lock screenshots benchmarks clean

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: ## everything a fresh Debian 12 or Ubuntu machine needs; quick when it is there
	@scripts/setup.sh

demo: setup ## simulate a season, run the pipeline, import it, load sample content, serve at 127.0.0.1:8000 (SERVE=0: stop before serving)
	@SERVE=$(SERVE) PORT=$(PORT) scripts/demo.sh

serve: setup ## serve what is there at 127.0.0.1:8000
	@PORT=$(PORT) scripts/serve.sh

test: setup ## all tests; PYTEST_ARGS="-k area" chooses some
	@scripts/test.sh $(PYTEST_ARGS)

check: setup ## all static checks: ruff, mypy, djLint, import-linter, missing migrations
	@scripts/check.sh

format: setup ## let ruff and djLint lay the code out
	@.venv/bin/ruff check --fix -q . ; .venv/bin/ruff format -q . ; .venv/bin/djlint --reformat --quiet . || true

lock: setup ## resolve requirements.in again into requirements.lock (versions and hashes, no address)
	@U=$$(command -v uv || echo .tools/bin/uv); $$U pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q requirements.in -o requirements.lock

screenshots: setup ## take the pictures of the README again (needs the demo's database)
	@$(PY) scripts/screenshots.py

benchmarks: setup ## run what is in benchmarks/
	@for f in benchmarks/*.py; do $(PY) $$f; done

clean: ## remove everything that was made: environment, database, runs, browser libraries
	@scripts/postgres.sh destroy 2>/dev/null || true
	@rm -rf .venv .tools var node_modules frontend/vendor runs *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} + ; find locale -name '*.mo' -delete 2>/dev/null || true
