# `make demo` and `make test` need Python 3.11 or newer and an index of packages; they set up .venv by themselves.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TESTING := $(VENV)/.installed-test
PIP := $(BIN)/python -m pip
WORKERS ?= 2

.PHONY: demo test check format clean help

help:
	@echo "make demo    generate lm_resnet, verify it, show its derivation, train briefly on handwritten digits"
	@echo "make test    all tests, style and types"
	@echo "make check   style and types only"
	@echo "make format  rewrite the sources in the house's style"
	@echo "make clean   remove the environment"

demo: $(INSTALLED)
	$(BIN)/derive generate lm_resnet
	$(BIN)/derive verify lm_resnet
	$(BIN)/derive show lm_resnet
	$(BIN)/python examples/digits.py --quick

test: $(TESTING)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal
	$(MAKE) --no-print-directory check

check: $(TESTING)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/derive check

format: $(TESTING)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install --quiet -c constraints.txt -e '.[examples]'
	touch $@

$(TESTING): $(INSTALLED)
	$(PIP) install --quiet -c constraints.txt -e '.[test]'
	touch $@
