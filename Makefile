# make demo, make test: they set up everything in $(VENV) first, with a Python 3.10 to 3.13 or uv.
#   make demo PYTHON=python3.11                      another Python than make-venv.sh chooses
#   make demo TORCH="torch==2.13.0 --index-url URL"   another build of torch, such as the CPU one of pytorch.org
#   make test JOBS=1                                 one test after the other; each job serves some 50 models, in 4 GB
#   make bench BENCH="--texts 1000 --rounds 2"       a shorter benchmark
#   make chaos CHAOS="--seed 7 --only cut,fork"      some faults, in the order and with the choices of a seed
VENV ?= .venv
TORCH ?= torch==2.13.0
JOBS ?= 3
PYTHON ?=
# what pip cannot install as a dependency on Python 3.13: see the extra serve in pyproject.toml
ON_313 := nvidia-pytriton==0.7.0 numpy==1.26.4
BIN := $(VENV)/bin

UNIT := tests/client tests/chaos/test_promises.py tests/installation/test_make_venv.py \
	$(addprefix tests/exporter/,core demo families triton_models) \
	$(addprefix tests/exporter/batch_scoring/test_,bad_rows.py inputs.py) \
	$(addprefix tests/exporter/checkpoint/test_,image_models.py image_processor.py tokenizer.py) \
	$(addprefix tests/exporter/graph/test_,calibration.py passes.py planning.py search.py smooth.py) \
	tests/exporter/lint/test_lint_tables.py tests/exporter/parity/test_decoder_baseline.py \
	$(addprefix tests/exporter/serving/test_,claims.py embedded_host.py presence.py proc.py reloads.py states.py)
# these export something first, serve it, or want a browser
NOT_UNIT := $(addprefix --ignore tests/client/,report/test_report_page.py transport/test_cut_off.py transport/test_shared_memory.py) \
	$(addprefix --ignore tests/exporter/triton_models/test_,bounds.py rows.py)

.PHONY: demo test test-unit test-slow lint docs bench bench-generation bench-precision bench-perf-analyzer bench-stalls bench-attention bench-reranking bench-memory bench-flood bench-cuda releases chaos soak clean

demo: $(VENV)/.installed
	$(BIN)/hf2triton demo

# it also lists the lines that no test has run, apart from those of other processes
test: $(VENV)/.installed
	$(BIN)/python -m slipcover --out .coverage.txt -m pytest -n $(JOBS) --dist loadfile
	@echo "Lines, those that were not run, % that were; .coverage.txt names them:" && tail -n 1 .coverage.txt

# what needs no server and no export: less than two minutes
test-unit: $(VENV)/.installed
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(UNIT) $(NOT_UNIT)

# no more than two at a time: graphs above 2 GB are among them
test-slow: JOBS = 2
test-slow: $(VENV)/.installed
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m slow --timeout 1800

bench: $(VENV)/.installed
	$(BIN)/python -m tests.benchmarks.throughput $(BENCH)

bench-generation: $(VENV)/.installed
	$(BIN)/python -m tests.benchmarks.generation $(BENCH)

bench-precision: $(VENV)/.installed
	$(BIN)/python -m tests.benchmarks.precision $(BENCH)

bench-perf-analyzer: $(VENV)/.installed
	$(BIN)/python -m tests.benchmarks.perf_analyzer $(BENCH)

bench-stalls: $(VENV)/.installed
	$(BIN)/python -m tests.benchmarks.stalls $(BENCH)

bench-attention: $(VENV)/.installed
	$(BIN)/python -m tests.benchmarks.attention $(BENCH)

bench-reranking: $(VENV)/.installed
	$(BIN)/python -m tests.benchmarks.reranking $(BENCH)

bench-memory: $(VENV)/.installed
	$(BIN)/python -m tests.benchmarks.memory $(BENCH)

bench-flood: $(VENV)/.installed
	$(BIN)/python -m tests.benchmarks.flood $(BENCH)

bench-cuda: $(VENV)/.installed
	$(BIN)/python -m tests.benchmarks.cuda $(BENCH)

releases: $(VENV)/.installed
	$(BIN)/python -m tests.benchmarks.releases

chaos: $(VENV)/.installed
	$(BIN)/python -m tests.chaos $(CHAOS)

soak: $(VENV)/.installed
	$(BIN)/python -m tests.chaos.soak $(SOAK)

lint: $(VENV)/.installed
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports \
		&& $(BIN)/mypy && $(BIN)/pyright --pythonpath $(BIN)/python

# the pages of docs/, as build/docs/index.html
docs: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/.installed: pyproject.toml
	PYTHON=$(PYTHON) ./make-venv.sh $(VENV)
	$(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet --editable '.[dev]'
	test ! -e $(BIN)/python3.13 || $(BIN)/pip install --quiet --no-deps $(ON_313)
	touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
