# Everything installs into .venv: with uv where it is present, else with pip. Folders of wheels that pip is configured
# with (find-links, e.g. for a torch without CUDA) serve both.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PINS := constraints/pins.txt
HELD := constraints/held.txt
export UV_PYTHON_DOWNLOADS := never
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test browser check format bench soak fuzz pins clean

demo: $(VENV)/.demo  ## Watch MixLLM route real queries over a pool of LLMs, learn and save money
	$(BIN)/mixllm demo $(ARGS)

test: $(VENV)/.dev browser  ## Every test; MIXLLM_NO_BROWSER=1 leaves out those that need Chromium
	@if [ -z "$$MIXLLM_NO_BROWSER" ] && ! command -v chromium >/dev/null 2>&1; \
	then echo "There is no Chromium and it could not be installed: the tests of the dashboard in a browser are LEFT OUT."; \
	export MIXLLM_NO_BROWSER=1; fi; \
	$(BIN)/python -m pytest $(ARGS)

browser:  ## Debian's Chromium, for the tests of the dashboard: installed where it is missing and this is root
	@if [ -z "$$MIXLLM_NO_BROWSER" ] && ! command -v chromium >/dev/null 2>&1 && [ "$$(id -u)" = 0 ]; \
	then export DEBIAN_FRONTEND=noninteractive; \
	install="timeout 240 apt-get install -qq -y --no-install-recommends chromium"; \
	$$install >/dev/null 2>&1 || { timeout 120 apt-get update -qq && $$install >/dev/null; } || true; fi

check: $(VENV)/.dev  ## Lint, format, types, layers, docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python scripts/check_docs.py

format: $(VENV)/.dev  ## Put every file into the house's form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev  ## Speed on this machine; results in benchmarks/results/
	$(BIN)/python -m benchmarks.run $(ARGS)

soak: $(VENV)/.dev  ## 10 minutes of load, then kills and failures; about 20 minutes; results in benchmarks/results/
	$(BIN)/python -m benchmarks.reliability.soak $(ARGS)
	$(BIN)/python -m benchmarks.reliability.chaos --store postgres
	$(BIN)/python -m benchmarks.reliability.chaos --store sqlite

fuzz: $(VENV)/.dev  ## Fuzz what comes from outside, 100,000 cases each: about an hour; not part of test
	$(BIN)/python -m benchmarks.fuzzing all $(ARGS)
	$(BIN)/python -m benchmarks.fuzzing.api $(ARGS)

pins:  ## Refresh the pinned versions (needs uv)
	uv pip compile pyproject.toml --extra dev -c $(HELD) --universal --python-version 3.11 --no-header --no-annotate --no-emit-index-url -o $(PINS).tmp --upgrade
	grep -v -E '^(cuda|nvidia|triton)' $(PINS).tmp > $(PINS)  # torch pins these itself, and not every torch needs them
	rm $(PINS).tmp

$(VENV)/bin/python:
	@if command -v uv >/dev/null 2>&1; then uv venv --quiet --python $(PYTHON) $(VENV); else $(PYTHON) -m venv $(VENV); fi

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml $(PINS)
	@$(call install,demo)
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml $(PINS)
	@$(call install,dev)
	@touch $@

# install EXTRA: the package itself, editable, with one of its extras, at the pinned versions.
define install
if command -v uv >/dev/null 2>&1; \
then set --; \
for link in $${PIP_FIND_LINKS:-$$($(PYTHON) -m pip config get global.find-links 2>/dev/null)}; \
do set -- "$$@" --find-links "$$link"; done; \
uv pip install --quiet --python $(BIN)/python "$$@" -c $(PINS) -e '.[$(1)]'; \
else $(BIN)/python -m pip install --quiet -c $(PINS) -e '.[$(1)]'; fi
endef

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
