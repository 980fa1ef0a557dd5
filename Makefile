# One command per intent. `make demo` and `make test` work on a bare machine: they build .venv when it is missing.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-all lint bench docs page clean
.DEFAULT_GOAL := demo

# The stamp is newer than what it was made from, so a second call costs nothing. An environment without pip, or of
# too old a Python, as a first call without Debian's python3-venv leaves it, is made anew (PYTHON=python3.12 chooses).
.venv/.installed: pyproject.toml constraints.txt
	@$(BIN)/pip --version >/dev/null 2>&1 && $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| $(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,train,serve]'
	@touch $@

# Ray is large, and only for the slow test of labelling on many machines; scikit-learn has the tutorial's digits.
.venv/.installed-all: .venv/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[cluster,assets]'
	@touch $@

demo: .venv/.installed
	@$(BIN)/sightline ask examples/scene.png "Describe the picture." --show --stats

# Two processes; a file's tests share its fixtures, so they stay in one.
test: .venv/.installed
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

test-all: .venv/.installed-all
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m ''

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

bench: .venv/.installed
	$(BIN)/python benchmarks/fusion.py

docs: .venv/.installed
	$(BIN)/python tools/command_help.py docs/commands.md

# Only for who changes the chat page: the built bundle is part of the package.
page:
	cd web && npm ci && npm run build

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
