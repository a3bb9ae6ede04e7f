# Two commands matter: `make run` makes a picture with the running system, `make test` runs the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ROLE ?= server
PROMPT ?= two red apples on a blue background
OUT ?= out/picture.png
export PROMPT OUT

.PHONY: run test check lint kustomize sbom clean
.DEFAULT_GOAL := run

$(VENV)/.run: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[server,workers]"
	touch $@

$(VENV)/.dev: $(VENV)/.run
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

run: $(VENV)/.run
	mkdir -p "$$(dirname "$$OUT")"
	$(BIN)/rheostat generate "$$PROMPT" -o "$$OUT"

test: $(VENV)/.dev
	$(BIN)/pytest

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

kustomize: $(VENV)/.dev
	$(BIN)/python -m deploy.render

# What an image of this role holds, without an engine; of an image itself: $(BIN)/syft scan IMAGE.
sbom: $(VENV)/.dev
	rm -rf out/image-$(ROLE)
	mkdir -p out
	$(PYTHON) deploy/docker/install.py dependencies $(ROLE) $(CURDIR)/out/image-$(ROLE)
	$(PYTHON) deploy/docker/install.py package $(CURDIR)/out/image-$(ROLE)
	SYFT_CHECK_FOR_APP_UPDATE=false $(BIN)/syft scan dir:out/image-$(ROLE) -o spdx-json=out/sbom-$(ROLE).spdx.json

clean:
	rm -rf $(VENV) out .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
