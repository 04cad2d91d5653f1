# make demo      set-up and the main job: distil on real photographs, export, verify, report
# make test      set-up and all tests
# make apk       the Android app; STUDENT=FILE TASK=derain puts a student of your own in
# make test-app  the app's tests on the JVM (Maven and a JDK are needed)
# make students  trains and measures the bundled models that are missing; NAMES="..." only these, DATA=DIR
# make classic-gpu  Android's GPU delegate for this computer, on which conversions then verify
# make venv      .venv alone
# make clean     removes .venv, runs/demo and android_demo/build

VENV := .venv
BIN := $(VENV)/bin
REQUIREMENTS := requirements.txt requirements-core.txt requirements-dev.txt pyproject.toml
export TF_CPP_MIN_LOG_LEVEL ?= 3

# The first Python of 3.10 to 3.13; `make PYTHON=... demo` chooses another.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.10; do \
	$$python -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& echo $$python && break; done)

.PHONY: demo test lint students classic-gpu venv clean apk apk-assets test-app

demo: venv
	@$(BIN)/python -m keras_skd.demo

test: venv lint
	$(BIN)/python -m pytest -n 2 --dist worksteal

apk apk-assets: venv
	@$(BIN)/python -m android_demo.apk $(if $(STUDENT),--student "$(STUDENT)") $(if $(TASK),--task "$(TASK)") \
		$(if $(filter apk-assets,$@),--assets)

test-app: venv
	@$(BIN)/python -m android_demo.test_app

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

students: venv
	@$(BIN)/python -m results.students $(NAMES) $(if $(DATA),--data "$(DATA)")

classic-gpu: venv
	@$(BIN)/python android_demo/host/install.py

venv: $(VENV)/.installed

# Stamped last, so that an interrupted installation is taken up again.
$(VENV)/.installed: $(REQUIREMENTS)
	@test -n "$(PYTHON)" || { echo "make: error: no Python of 3.10 to 3.13 found; install one, or name it with PYTHON=..." >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { echo "make: error: $(PYTHON) has no venv module; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@echo "installing into $(VENV) (TensorFlow is about 600 MB; a minute or two)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

clean:
	rm -rf $(VENV) runs/demo android_demo/build
