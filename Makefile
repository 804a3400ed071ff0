# A thin wrapper; README has the plain commands. Everything is created inside .venv on first use.
PYTHON ?= python3
PROFILE ?=
VENV := .venv
PY := $(VENV)/bin/python
ifneq ($(PROFILE),)
export RANKSTUDY_PROFILE := $(PROFILE)
endif
# whoever only reads the published book gets a small environment of its own, unless the full one is there already
BOOK := $(VENV)
ifeq ($(RANKSTUDY_PROFILE),published)
ifeq ($(wildcard $(VENV)/ready),)
BOOK := .venv-read
endif
endif
BOOKPY := $(BOOK)/bin/python
export PATH := $(CURDIR)/$(BOOK)/bin:$(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: help report html pdf preview run test thorough check audit check-report clean

help:
	@echo "make report   compute what is missing, then render the book (HTML and PDF) into _book/"
	@echo "make html     the same, HTML only (the fast loop)"
	@echo "make preview  HTML without Quarto, into _preview/"
	@echo "make run      compute only (resumes where it was stopped)"
	@echo "make test     the test suite"
	@echo "make check    linter and type checker"
	@echo "make audit    known vulnerabilities of what is installed, asked of PyPI"
	@echo "make check-report  count what each page asks of its reader; walk the rendered book in a browser"
	@echo "PROFILE=smoke|quick|full|published chooses how much is computed; published computes nothing and needs no torch"

report: $(BOOK)/ready
	$(BOOKPY) -m rankstudy report --install-quarto

html: $(BOOK)/ready
	$(BOOKPY) -m rankstudy report --to html

pdf: $(BOOK)/ready
	$(BOOKPY) -m rankstudy report --to pdf

preview: $(BOOK)/ready
	$(BOOKPY) -m rankstudy run
	$(BOOKPY) -m rankstudy preview

run: $(BOOK)/ready
	$(BOOKPY) -m rankstudy run

# a process a core; a file stays in one of them, since its tests share what they compute. Tests start Python some 200
# times: where it may not write byte code, each would compile the package anew.
test: $(VENV)/ready
	$(PY) -m compileall -q rankstudy
	$(PY) -m pytest -n auto --dist loadfile

# what takes too long for every day: 2,000 examples a property, the book by plain Quarto from nothing, coverage of the core, mutants, faults on purpose
CORE = rank spectrum factorization replace targets layers places lora_layers lora
thorough: $(VENV)/ready
	HYPOTHESIS_PROFILE=thorough $(PY) -m pytest -n auto --dist worksteal $(CORE:%=tests/test_%.py) tests/test_prerender.py
	$(PY) -m pytest -q --cov-branch $(CORE:%=--cov=rankstudy.%) --cov-report=term-missing --cov-fail-under=99 $(CORE:%=tests/test_%.py)
	$(PY) -m tests.mutants
	$(PY) -m tests.faults

check: $(VENV)/ready
	$(PY) -m uv tool run --quiet ruff check .
	$(PY) -m uv tool run --quiet mypy --python-executable $(PY)

audit: $(VENV)/ready
	PIPAPI_PYTHON_LOCATION=$(CURDIR)/$(PY) $(PY) -m uv tool run --quiet pip-audit --progress-spinner off --skip-editable

check-report: $(VENV)/ready
	@test -f _book/index.html || { echo "rankstudy: there is no _book/ to check; make report makes it" >&2; exit 2; }
	$(PY) -m uv pip install --quiet --python $(PY) --editable '.[check]'
	$(PY) -m tests.page_checks
	$(PY) -m pytest -rs tests/check_report.py

# torch's default build alone unpacks to some 5 GB: say so before the disk is full, not after. Byte code is compiled once,
# here: each worker and each process of a test would spend 6 s on it where Python may not write it (system-wide installs,
# containers, PYTHONDONTWRITEBYTECODE).
$(VENV)/ready: pyproject.toml
	@free=$$(df -Pk . | awk 'NR==2 {print int($$4/1048576)}'); \
	if [ "$$free" -lt 6 ]; then echo "rankstudy: set-up needs 6 GB of free disk, $$free GB are free here; README says how to get a small CPU-only torch" >&2; exit 2; fi
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check uv
	$(PY) -m uv pip install --quiet --compile-bytecode --python $(PY) --editable '.[report,test]'
	@touch $@

.venv-read/ready: requirements-read.txt pyproject.toml
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(@D)/bin/python -m uv pip install --quiet --compile-bytecode --python $(@D)/bin/python --requirement requirements-read.txt
	$(@D)/bin/python -m uv pip install --quiet --python $(@D)/bin/python --no-deps --editable .
	@touch $@

clean:
	rm -rf _book _preview .pytest_cache .hypothesis .ruff_cache
