# make            environment: .venv with the pinned libraries and pofx itself
# make demo       compare eight families on handwritten digits → runs/demo/report.html
# make gallery    a sheet of samples of every model → docs/gallery/index.md
# make notebooks  every tutorial and use as a notebook → docs/notebooks
# make test       the test suite (10 to 11 minutes on two cores)

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
export POFX_DATA

.PHONY: install demo test test-slow check bench bench-peers docs gallery notebooks clean

install: $(READY)

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $(READY)

demo: $(READY)
	$(BIN)/pofx compare digits --budget 20s --out runs/demo

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

test-slow: $(READY)
	$(BIN)/pytest -m slow --timeout 3600

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python bench/first_models.py

bench-peers: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[bench]"
	OMP_NUM_THREADS=1 $(BIN)/python bench/peers.py

docs: $(READY)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[docs]"
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --strict

gallery: $(READY)
	$(BIN)/python docs/gallery.py

notebooks: $(READY)
	$(BIN)/python docs/notebooks.py

clean:
	rm -rf .venv runs site .pytest_cache .mypy_cache .ruff_cache
