# Every command of the project. `make help` lists them; README.md gives the same without make, for Windows.

PYTHON ?= python3
BIN := .venv/bin
NOTEBOOKS ?= notebooks

.DEFAULT_GOAL := help
.PHONY: help book pdf zip test lint lab serve robust notebooks records bench lock repository clean

help:  ## this list
	@grep -hE '^[a-z]+:.*## ' Makefile | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

# The stamp is younger than the lock as long as the environment is up to date, so a second call installs nothing.
.venv/installed: requirements.txt pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))" \
		|| { echo "Python 3.11 to 3.14 is needed; choose one with: make PYTHON=python3.12 book"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

book: .venv/installed  ## build the book from the stored outputs
	$(BIN)/jupyter-book build . -n -W --keep-going
	@echo "The book: _build/html/index.html"

pdf: .venv/installed  ## print the whole book as one PDF; needs Chromium or Chrome
	$(BIN)/python -m tools.pdf

zip:  ## build the book afresh and pack it for a classroom without a network
	rm -rf _build/html _build/.doctrees
	@$(MAKE) --no-print-directory book
	$(BIN)/python -m tools.archive

# Two processes of one thread each are faster than one after the other; the cells of a notebook stay together.
test: .venv/installed  ## prove everything: library, notebooks, book, the Colab path
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --nbval -n 2 --dist loadfile tests notebooks

lint: .venv/installed  ## check code, prose and notebooks without running them
	@$(BIN)/python -m ruff check --quiet
	@$(BIN)/python -m ruff format --check --quiet
	@$(BIN)/python -m tools.lint

lab: .venv/installed  ## open the notebooks in JupyterLab
	$(BIN)/python -m jupyterlab notebooks

serve: book  ## show the built book at http://localhost:8000
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory _build/html 8000

robust: .venv/installed  ## the notebooks with another seed, one thread, the plainest instructions
	COURSE_SEED=1 OMP_NUM_THREADS=1 ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=AVX2 $(BIN)/python -m pytest --nbval $(NOTEBOOKS)

notebooks: .venv/installed  ## run notebooks and store their outputs  [NOTEBOOKS=notebooks/NAME.ipynb]
	$(BIN)/python -m tools.run_notebooks $(NOTEBOOKS)

records: .venv/installed  ## run notebooks with seeds 0 to 4, store outputs and table  [NOTEBOOKS=…]
	$(BIN)/python -m tools.run_records $(NOTEBOOKS)

bench: .venv/installed  ## time the course's training against the usual recipe
	$(BIN)/python benchmarks/time_to_accuracy.py
	$(BIN)/python benchmarks/language_model.py

lock: .venv/installed  ## resolve the direct dependencies again, for every system
	echo "-e .[book,dev]" | $(BIN)/python -m uv pip compile --quiet --universal --upgrade --python-version 3.11 \
		--custom-compile-command "make lock" --output-file requirements.txt -
	$(BIN)/python -m tools.check_lock

repository: .venv/installed  ## write the repository's address everywhere  [URL=https://github.com/…]
	$(BIN)/python -m tools.repository "$(URL)"

clean:  ## remove what was built; the environment and the data stay
	rm -rf _build .pytest_cache .ruff_cache
