# make run: the main job on the bundled clip. make gate: the door on it. make highlights: a reel of it. make test: the
# tests. Each sets up what it needs in .venv.

PYTHON ?= python3
BIN := .venv/bin
export PYTHONDONTWRITEBYTECODE :=  # seven processes that compile their modules anew take half as long again to start
DEMO := FRAMEWIRE_HOME="$(CURDIR)/out/home" FRAMEWIRE_KEYS="$(CURDIR)/out/keys"

.PHONY: run gate highlights soak test test-export check bench gpu-check clean

run: .venv/runtime
	rm -rf out/home out/keys out/master.key
	$(DEMO) $(BIN)/python run_pipeline.py enroll "Eileen Collins" "samples/enrol/Eileen Collins.jpg"
	$(DEMO) $(BIN)/python run_pipeline.py run --source samples/gate.mp4 --out out

gate: .venv/runtime  # until Ctrl-C, then the log is audited
	rm -rf out/home out/keys out/master.key
	$(DEMO) $(BIN)/python run_pipeline.py enroll "Eileen Collins" "samples/enrol/Eileen Collins.jpg"
	@echo "The clip is played again and again, and the page stays: Ctrl-C ends it."
	trap : INT; $(DEMO) $(BIN)/python run_pipeline.py gate --config samples/gate.toml; \
		$(DEMO) $(BIN)/python run_pipeline.py gate audit

highlights: .venv/runtime
	rm -rf out/home out/keys out/master.key
	mkdir -p out
	$(DEMO) $(BIN)/python run_pipeline.py enroll "Eileen Collins" "samples/enrol/Eileen Collins.jpg"
	$(DEMO) $(BIN)/python run_pipeline.py highlights samples/gate.mp4 --length 6s --preset security -o out/reel.mp4

soak: .venv/dev  # fifty kills, each back in time: on a machine with nothing else to do; needs an RTSP server
	FRAMEWIRE_KILLS=50 $(BIN)/python -m pytest tests/test_gate.py -k kills -s

test: .venv/dev  # on all cores, and then those that measure themselves against a clock
	$(BIN)/python -m pytest --ignore=tests/export -n auto -m "not alone"
	$(BIN)/python -m pytest --ignore=tests/export -m alone

test-export: .venv/export
	$(BIN)/python -m pytest tests/export -n auto

check: .venv/export
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/dev
	$(BIN)/python -m bench

gpu-check: .venv/runtime  # CUDA's libraries are large: only where there is a GPU
	@if $(BIN)/python -c 'import sys; from pipeline import cuda; sys.exit(bool(cuda.no_device()))'; then \
		$(MAKE) --no-print-directory .venv/gpu; fi
	$(BIN)/python -m bench.gpu_check

clean:
	rm -rf .venv out

# Each stamp stands for one set of installed extras.
.venv/runtime: pyproject.toml | .venv/bin/pip
	$(BIN)/pip install --quiet --editable .
	$(BIN)/python -c "from stages.nms import Nms, NmsConfig; Nms(NmsConfig())"  # compiles it once, for all starts
	@touch $@

.venv/gpu: pyproject.toml | .venv/bin/pip
	$(BIN)/pip install --quiet --editable ".[gpu]"
	@touch $@

.venv/dev: pyproject.toml | .venv/bin/pip
	$(BIN)/pip install --quiet --editable ".[dev]"
	@touch $@

.venv/export: pyproject.toml | .venv/bin/pip
	$(BIN)/pip install --quiet --editable ".[dev,export]"
	@touch $@

.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "framewire needs Python 3.11 or newer: install it, then run make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "Python's venv is missing on this system: run sudo apt-get install -y python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
