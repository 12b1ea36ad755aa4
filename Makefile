# make fit and make test do everything on a fresh machine; make help lists the rest.

PYTHON ?= python3
CONFIG ?= configs/quadratic.yaml
ARGS ?=
PIP = .venv/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: help fit test test-all coverage lint tensorboard wheel clean
.DEFAULT_GOAL := help

help:  ## list these commands
	@grep -E '^[a-z-]+:.*##' Makefile | awk -F ':.*## ' '{printf "make %-12s %s\n", $$1, $$2}'

fit: .venv/installed  ## fit the article's series; ARGS="--model.lr 2e-5" adds options, CONFIG=... takes another run
	@.venv/bin/gd-lightning fit --config $(CONFIG) $(ARGS)

test: .venv/installed-dev  ## run the tests, but for the slow ones
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest --numprocesses 2 --dist loadgroup $(ARGS)

test-all: .venv/installed-dev  ## run all tests: kills at fifty moments, ten minutes of fuzzing each
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest --numprocesses 2 --dist loadgroup -m "" $(ARGS)

coverage:  ## run the tests, and show which branches they do not reach; 95 % are asked for
	$(MAKE) test ARGS="--cov --cov-report=term:skip-covered --cov-report=json:.coverage.json $(ARGS)"
	.venv/bin/python .ci/branches.py .coverage.json

lint: .venv/installed-dev  ## check style (ruff) and types (mypy)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

tensorboard: .venv/installed  ## look at the runs in a browser, on this machine only
	.venv/bin/tensorboard --logdir lightning_logs --host 127.0.0.1 --samples_per_plugin images=1000 $(ARGS)

wheel: .venv/installed-dev  ## build wheel and source archive into dist/, and check them
	rm -rf dist
	.venv/bin/python -m build --outdir dist .
	.venv/bin/python -m twine check --strict dist/*

clean:  ## remove what was installed and built; runs in lightning_logs/ stay
	rm -rf .venv build dist .coverage* .mypy_cache .ruff_cache .pytest_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/created:
	@for python in "$(PYTHON)" python3 python3.14 python3.13 python3.12 python3.11; do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	  recent="$$python"; \
	  "$$python" -c 'import ensurepip, venv' 2>/dev/null && found="$$python" && break; \
	done; \
	if [ -z "$$recent" ]; then \
	  echo "Python 3.11 or later is missing; get it with one of" >&2; \
	  echo "  apt install python3 python3-venv    (Debian, Ubuntu)" >&2; \
	  echo "  dnf install python3                 (Fedora)" >&2; \
	  echo "  brew install python                 (macOS)" >&2; \
	  echo "or name yours: make fit PYTHON=/path/to/python3" >&2; exit 1; \
	elif [ -z "$$found" ]; then \
	  echo "$$recent has no venv module; get it with: apt install python3-venv    (Debian, Ubuntu)" >&2; exit 1; \
	fi; \
	"$$found" -m venv --clear .venv && touch $@

.venv/installed: .venv/created pyproject.toml constraints.txt
	@echo "Installing the project and the versions in constraints.txt into .venv ..."
	@$(PIP) --editable .
	@touch $@

.venv/installed-dev: .venv/created pyproject.toml constraints.txt
	@echo "Installing the project, its tests and the versions in constraints.txt into .venv ..."
	@$(PIP) --editable '.[dev]'
	@touch .venv/installed $@
