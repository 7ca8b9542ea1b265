# Two commands: `make reproduce` and `make test`. Each sets up all it needs, and neither asks the
# package index again once that is done, so both work offline from then on.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# A process a core; each holds a backend and its data, some 2 GB. Importing nbval takes seconds.
PYTEST := $(BIN)/python -m pytest -p no:nbval -n logical --maxprocesses 4
# The longest notebook first: two run at a time, and the others fit beside it.
LONGEST := notebooks/05_unet_grid.ipynb
NOTEBOOKS := $(LONGEST) $(filter-out $(LONGEST),$(sort $(wildcard notebooks/*.ipynb)))
export TF_CPP_MIN_LOG_LEVEL ?= 3
export PYTHONUNBUFFERED = 1
# Hundreds of processes import ganlib: none compiles what another has.
unexport PYTHONDONTWRITEBYTECODE

# The cheapest study first. PROFILE=cpu is what two processor cores do in some hours.
STUDIES := srgan boundary unet digits bedrooms
PROFILE ?= full

.PHONY: setup reproduce full test test-floors lint notebooks benchmark clean

setup: $(VENV)/ready ## make the virtual environment, with the ganlib command in it

$(VENV)/ready: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements.txt -e ".[dev]"
	touch $@

reproduce: setup ## run all notebooks in the quick profile into reports/quick/
	$(BIN)/python notebooks/refresh.py --html

# Stop it whenever you like, and give it again, elsewhere too with runs/ copied there: it goes on.
# One study's fault does not keep the others from running. A machine without a package index, where
# ganlib is at hand already, takes `make full GANLIB="python3 -m ganlib"`.
ifdef GANLIB
full:
else
full: GANLIB := $(BIN)/ganlib
full: setup ## all studies at the write-up's scale, into reports/full/
endif
	@failed=""; for study in $(STUDIES); do \
	  $(GANLIB) run $$study --profile $(PROFILE) || failed="$$failed $$study"; \
	done; \
	if [ -n "$$failed" ]; then echo "Not finished:$$failed"; exit 1; fi
	@failed=""; for study in $(STUDIES); do \
	  $(GANLIB) report $$study --profile $(PROFILE) || failed="$$failed $$study"; \
	done; \
	if [ -n "$$failed" ]; then echo "No report, which needs Jupyter:$$failed"; exit 1; fi
	$(GANLIB) report --all

test: setup lint ## ruff, pytest on each backend that is installed, strict nbval
	$(PYTEST) tests
	KERAS_BACKEND=jax $(PYTEST) tests -m backend
	@if $(BIN)/python -c "import torch" 2>/dev/null; then \
	  KERAS_BACKEND=torch $(PYTEST) tests -m backend; \
	else \
	  echo "torch is not installed: its tests did not run ($(BIN)/pip install torch adds them)."; \
	fi
	$(BIN)/python -m pytest --nbval -n 2 --dist loadfile --no-loadscope-reorder $(NOTEBOOKS)

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

# Warnings stay warnings here: old releases meet newer neighbours that deprecate what they call.
test-floors: $(VENV)-floors/ready ## the tests against the oldest versions that are admitted
	KERAS_BACKEND=tensorflow $(VENV)-floors/bin/python -m pytest tests -W default

$(VENV)-floors/ready: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)-floors
	sed 's/>=/==/' requirements.txt > $(VENV)-floors/floors.txt
	$(VENV)-floors/bin/python -m pip install --quiet -r $(VENV)-floors/floors.txt pytest nbclient jax
	$(VENV)-floors/bin/python -m pip install --quiet --no-deps -e .
	touch $@

notebooks: setup ## execute all notebooks and commit-clean their outputs
	$(BIN)/python notebooks/refresh.py

benchmark: setup ## speed against peers, as ratios
	$(BIN)/python benchmarks/speed.py

clean:
	rm -rf $(VENV) $(VENV)-floors runs reports/quick
