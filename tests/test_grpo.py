"""GRPO: settings, real training on real verdicts, resuming after a real kill -9, faults that stop it."""

import csv
import difflib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from stages import grpo
from stages.common import records
from stages.common.errors import HaloForgeError, InputError, SandboxError
from stages.common.params import Params
from stages.common.records import Sample, Verdict
from stages.common.selection import paired
from stages.lm import devices, load
from stages.lm.chat import end_ids, prompt_ids, training_row
from stages.lm.grpo import run_steps, train_grpo
from stages.lm.rollouts import Prompt, Rollouts, fitting
from stages.lm.training import finished, train
from stages.settings.compute import ComputeSettings
from stages.settings.grpo import GrpoRunSettings, GrpoSettings, check_runs
from stages.settings.prompts import PromptSettings
from stages.settings.training import TrainSettings
from tests.conftest import ROOT, Run, make_task, write_lines

COMPUTE = ComputeSettings(threads=1, dtype="float32")
SMALL = {
    "num_generations": 4,
    "max_completion_length": 24,
    "batch": 8,
    "steps_per_generation": 2,
    "generation_batch": 8,
    "steps": 12,
    "learning_rate": 1e-3,
    "checkpoint_steps": 3,
}
TASKS = [make_task(n, prompt=f"add {n}") for n in range(6)]


@pytest.fixture(scope="module")
def learner(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that solves some of TASKS, sometimes."""
    folder = tmp_path_factory.mktemp("learner")
    devices.use_threads(1)
    tokenizer, model = load.load_tokenizer(checkpoint), load.load_model(checkpoint, COMPUTE, trainable=True)
    code = "def f(xs):\n    return [x + {} for x in xs]"
    rows = [training_row(tokenizer, t.prompt, "python", code.format(n), PromptSettings()) for n, t in enumerate(TASKS)]
    settings = TrainSettings(learning_rate=1e-2, epochs=100, batch=6, checkpoint_steps=1000)
    result = train(model, tokenizer, rows, settings, seed=0, work=folder / "w", label="learner", origin="")
    load.save(folder / "learner", result.model, tokenizer)
    finished(folder / "w")
    return folder / "learner"


def write_params(folder: Path, run: dict | None = None, **changes: object) -> None:
    profile = {"compute": COMPUTE.model_dump(), "grpo": {**SMALL, **changes}}
    params = {"seed": 3, "profile": "p", "grpo": {"1": {"parent": "sft", **(run or {})}}, "profiles": {"p": profile}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


def arguments(parent: Path, name: str) -> list[str]:
    files = f"--out {name} --samples {name}.s.jsonl --verdicts {name}.v.jsonl --metrics {name}.json --curve {name}.csv"
    return ["--run", "1", "--parent", str(parent), "--tasks", "tasks.jsonl", *files.split()]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Runs the stage in this process, which has the libraries loaded, in a folder with settings and tasks."""
    monkeypatch.chdir(tmp_path)
    records.write(tmp_path / "tasks.jsonl", TASKS)

    def run(parent: Path, name: str = "grpo-1", **changes: object) -> Path:
        write_params(tmp_path, **changes)
        monkeypatch.setattr(sys, "argv", ["grpo", *arguments(parent, name)])
        grpo.main()
        return tmp_path

    return run


def produced(folder: Path, name: str) -> dict[str, bytes]:
    files = [*(folder / name).rglob("*.*"), *folder.glob(f"{name}.*")]
    return {str(p.relative_to(folder)).replace(name, "X"): p.read_bytes() for p in files if p.is_file()}


def test_it_is_paid_what_verifying_its_samples_pays(
    here: Callable[..., Path], stage: Run, learner: Path, tmp_path: Path
) -> None:
    here(learner, keep_steps=6)
    pairs = list(paired(records.read(Sample, "grpo-1.s.jsonl"), records.read(Verdict, "grpo-1.v.jsonl")))
    assert len(pairs) == 6 * 16, "six generations of 16"
    assert [s.step for s, _ in pairs] == [v.step for _, v in pairs] == [2 * n for n in range(6) for _ in range(16)]
    passed = [v.reward == 1 for _, v in pairs]
    assert 0.1 < sum(passed) / len(passed) < 0.9, "the learner is to have something to learn"

    stage("verify", "--tasks", "tasks.jsonl", "--samples", "grpo-1.s.jsonl", "--out", "again.jsonl")
    again = list(records.read(Verdict, "again.jsonl"))
    assert again == [replace(verdict, step=None) for _, verdict in pairs]

    rows = list(csv.DictReader(Path("grpo-1.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == list(range(1, 13))
    for row in rows:
        paid = [v.reward == 1 for _, v in pairs if v.step == (int(row["step"]) - 1) // 2 * 2]
        assert float(row["reward"]) == pytest.approx(sum(paid) / 16)
    metrics = json.loads(Path("grpo-1.json").read_text())
    assert (metrics["tasks"], metrics["samples"], metrics["steps"]) == (6, 96, 12)
    assert metrics["pass_rate"] == pytest.approx(sum(passed) / 96, abs=1e-6)
    before, kept, after = (load.load_model(p, COMPUTE).state_dict() for p in (learner, "grpo-1/step-6", "grpo-1"))
    assert not any(torch.equal(before["model.norm.weight"], x["model.norm.weight"]) for x in (kept, after))
    assert not torch.equal(kept["model.norm.weight"], after["model.norm.weight"])


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_the_same(stage: Run, learner: Path, tmp_path: Path) -> None:
    """The last part of the run's name is the name of its stream of seeds, so the two are in folders of their own."""
    write_params(tmp_path, keep_steps=4)
    records.write(tmp_path / "tasks.jsonl", TASKS)
    stage("grpo", *arguments(learner, "whole/grpo-1"))
    command = [sys.executable, "-m", "stages.grpo", *arguments(learner, "cut/grpo-1")]
    running = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    # The third generation after a checkpoint of the second.
    while not list(tmp_path.glob("cut/grpo-1.partial/*/rollouts/000004.verdicts.jsonl")):
        assert running.poll() is None, "the run ended before it could be killed"
        time.sleep(0.005)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert not (tmp_path / "cut/grpo-1").exists()

    assert "grpo-1: resuming from step" in stage("grpo", *arguments(learner, "cut/grpo-1")).stdout
    assert produced(tmp_path / "cut", "grpo-1") == produced(tmp_path / "whole", "grpo-1")
    assert len(produced(tmp_path / "cut", "grpo-1")) > 10
    assert not list(tmp_path.glob("*/*.partial"))


class Payer:
    """Pays for length, without verifiers, and writes down when it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def submit(self, samples: list[Sample]) -> list[Sample]:
        self.asked.append(f"submit {len(samples)}")
        return samples

    def verdicts(self, submitted: list[Sample]) -> list[Verdict]:
        self.asked.append("verdicts")
        return [Verdict(s.task_id, s.sample, s.tokens / 24, "ran", "", 0, 1) for s in submitted]

    def reward(self, verdict: Verdict) -> float | None:
        return verdict.reward


def trained(parent: Path, work: Path, seed: int = 0, **changes: object) -> tuple[object, Rollouts, Payer]:
    devices.use_threads(1)
    tokenizer, model = load.load_tokenizer(parent), load.load_model(parent, COMPUTE, trainable=True)
    settings, payer = GrpoSettings.parse({**SMALL, **changes}, "test"), Payer()
    prompts, _ = fitting(TASKS, tokenizer, model, settings, PromptSettings())
    how = {"seed": seed, "name": "grpo-1", "work": work, "origin": str(parent)}
    return *train_grpo(model, tokenizer, prompts, settings, payer, **how), payer


def test_prompts_are_those_of_sft_and_answers_end_where_sampling_ends(learner: Path, tmp_path: Path) -> None:
    tokenizer, model = load.load_tokenizer(learner), load.load_model(learner, COMPUTE)
    system = PromptSettings(system={"python": "Answer in Python."})
    settings, payer = GrpoSettings.parse(SMALL, "test"), Payer()
    prompts, _ = fitting(TASKS, tokenizer, model, settings, system)
    rollouts = Rollouts("grpo-1", prompts, settings, tokenizer, payer, tmp_path, 0, generations=2)
    found = rollouts.draw(model, [0, 1, 2, 3], step=0)
    assert payer.asked == ["submit 4"] * 4, "each batch is handed on by itself"
    asked = [prompt_ids(tokenizer, rollouts.prompt(row).task.prompt, "python", system) for row in range(4)]
    assert found["prompt_ids"] == [ids for ids in asked for _ in range(4)]
    assert "Answer in Python." in tokenizer.decode(asked[0])
    answers = found["completion_ids"]
    assert all(not set(ids[:-1]) & set(end_ids(tokenizer)) for ids in answers)
    assert any(ids[-1] in end_ids(tokenizer) for ids in answers)
    rollouts.rewards(step=0)
    samples = rollouts.read(Sample, 0)
    assert [s.tokens for s in samples] == [len(ids) for ids in answers]
    assert [s.finish_reason == "stop" for s in samples] == [ids[-1] in end_ids(tokenizer) for ids in answers]
    again = Rollouts("grpo-1", prompts, settings, tokenizer, payer, tmp_path, 0, generations=2)
    assert again.draw(model, [0, 1, 2, 3], step=0) == found
    assert again.draw(model, [0, 1, 2, 3], step=2) != found, "another generation, another seed"


def test_what_a_checkpoint_says_of_generation_stays_in_it_and_does_nothing(learner: Path, tmp_path: Path) -> None:
    """As in sampling: a repetition penalty would give other answers than the loss thinks."""
    other = shutil.copytree(learner, tmp_path / "other")
    said = json.loads((other / "generation_config.json").read_text())
    (other / "generation_config.json").write_text(json.dumps({**said, "repetition_penalty": 9.0}))
    drawn = []
    for name, parent in (("a", learner), ("b", other)):
        result, rollouts, _ = trained(parent, tmp_path / name, steps=2)
        load.save(tmp_path / f"{name}-out", result.model, load.load_tokenizer(parent))
        drawn.append([sample.completion for sample in rollouts.read(Sample, 0)])
    assert drawn[0] == drawn[1]
    assert json.loads((tmp_path / "b-out/generation_config.json").read_text())["repetition_penalty"] == 9.0


def test_every_prompt_comes_once_a_pass_and_samples_are_numbered_on(tmp_path: Path) -> None:
    settings = GrpoSettings.parse(SMALL, "test")
    tokenizer = type("Tokenizer", (), {"eos_token_id": 0, "apply_chat_template": lambda *_, **__: "ANSWER"})()
    prompts = [Prompt(task, [1]) for task in TASKS]
    rollouts = Rollouts("grpo-1", prompts, settings, tokenizer, Payer(), tmp_path, 0, generations=6)
    assert len(rollouts.order) == 24
    passes = [rollouts.order[start : start + 6] for start in range(0, 24, 6)]
    assert all(sorted(each) == list(range(6)) for each in passes)
    assert len({tuple(each) for each in passes}) > 1, "each pass has an order of its own"
    assert [rollouts._visits[row] for row in range(24)] == [n for n in range(4) for _ in range(6)]


def test_longer_answers_are_learned_where_they_are_paid(learner: Path, tmp_path: Path) -> None:
    """The sign of the update: what is paid more becomes more likely. The same run twice draws the same."""
    payments = []
    for folder, steps in (("a", 40), ("b", 8)):
        _, rollouts, _ = trained(learner, tmp_path / folder, steps=steps, learning_rate=3e-3)
        payments.append([sum(v.reward for v in rollouts.read(Verdict, n)) / 16 for n in range(steps // 2)])
    assert payments[0][:4] == payments[1]
    assert sum(payments[0][-5:]) > sum(payments[0][:5]) + 0.5


def test_an_adapter_with_a_kl_term_and_daposs_options(learner: Path, tmp_path: Path) -> None:
    """Also from an adapter: TRL's copy of it, for the KL term, is not saved."""
    options = {
        "lora": {"rank": 2, "alpha": 4},
        "beta": 0.1,
        "loss_type": "dapo",
        "epsilon_high": 0.28,
        "mask_truncated_completions": True,
        "num_iterations": 2,
        "gradient_checkpointing": True,
        "steps": 8,
    }
    result, _, _ = trained(learner, tmp_path / "w", **options)
    load.save(tmp_path / "adapter", result.model, load.load_tokenizer(learner))
    assert (tmp_path / "adapter/adapter_config.json").is_file()
    assert all(row["kl"] is not None for row in result.curve)
    again, _, _ = trained(tmp_path / "adapter", tmp_path / "w2", **options)
    load.save(tmp_path / "again", again.model, load.load_tokenizer(learner))
    assert {p.name for p in (tmp_path / "again").iterdir()} == {p.name for p in (tmp_path / "adapter").iterdir()}


def test_a_loss_that_is_no_number_names_step_and_tasks(learner: Path, tmp_path: Path) -> None:
    with pytest.raises(HaloForgeError, match=r"grpo-1: the (loss|gradient) became \S+ at step \d+, on the tasks t/\d"):
        trained(learner, tmp_path, learning_rate=1e30, clip=1e30, loss_type="grpo")


FAULTY = """
from stages.common.errors import SandboxError
from stages.verifiers.base import Verifier
class Faulty(Verifier):
    def verify(self, task, code, sandbox):
        raise SandboxError("the compiler is gone")
    def selftests(self):
        return []
"""


def test_a_fault_of_the_machine_stops_training(
    here: Callable[..., Path], learner: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the verifier raises in its thread comes out of TRL as it is, for the stage's frame to tell in one line."""
    (tmp_path / "faulty.py").write_text(FAULTY)
    monkeypatch.syspath_prepend(tmp_path)
    records.write(tmp_path / "tasks.jsonl", [replace(task, verifier="faulty:Faulty") for task in TASKS])
    with pytest.raises(SandboxError, match=r"^the compiler is gone$"):
        here(learner)
    assert not list(tmp_path.glob("grpo-1*.jsonl"))
    assert not (tmp_path / "grpo-1").exists()


def test_no_sandbox_no_training(
    here: Callable[..., Path], learner: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from stages.sandbox import host

    monkeypatch.setenv("PATH", str(tmp_path))
    host._find_layout.cache_clear()
    try:
        with pytest.raises(SandboxError, match="bwrap"):
            here(learner)
    finally:
        host._find_layout.cache_clear()


def test_prompts_without_room_for_an_answer_are_left_out_and_counted(
    here: Callable[..., Path], learner: Path, tmp_path: Path
) -> None:
    records.write(tmp_path / "tasks.jsonl", [*TASKS, make_task(7, prompt="add " + "1, " * 200)])
    here(learner, steps=2)
    metrics = json.loads(Path("grpo-1.json").read_text())
    assert (metrics["tasks"], metrics["tasks_too_long"]) == (6, 1)
    with pytest.raises(InputError, match="exceed the model's context of 512 tokens, for each of 7 tasks"):
        here(learner, max_completion_length=512)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_generations": 5}, "num_generations: 5 must divide batch x steps_per_generation = 16"),
        ({"accumulation": 3}, "steps_per_generation: 2 must be a multiple of accumulation"),
        ({"keep_steps": 3}, "keep_steps: 3 must be a multiple of a generation's 2 steps"),
        ({"loss_type": "dopo"}, "loss_type: found 'dopo'"),
        ({"bata": 0.1}, "bata: unknown key; did you mean 'beta'?"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match="p: ") as error:
        GrpoSettings.parse({**SMALL, **changes}, "p: grpo")
    assert message in str(error.value)


def test_the_length_of_a_run_is_in_whole_generations() -> None:
    settings = GrpoSettings.parse({**SMALL, "steps": None, "epochs": 2}, "p")
    assert (settings.prompts_per_generation, settings.generation_steps) == (4, 2)
    assert run_steps(settings, prompts=6) == 6, "twelve prompts are three generations of four"
    assert run_steps(settings.model_copy(update={"steps": 5}), prompts=6) == 6
    assert GrpoSettings.parse(None, "p").passes == 1


def test_a_run_s_own_settings_are_checked_with_the_profile_s(tmp_path: Path) -> None:
    own = GrpoRunSettings.parse({"parent": "sft", "beta": 0.5, "num_iterations": 2}, "p")
    applied = own.applied(GrpoSettings.parse(SMALL, "p"), "p")
    assert (applied.beta, applied.num_iterations, applied.learning_rate) == (0.5, 2, 1e-3)
    write_params(tmp_path, {"num_iterations": 2}, keep_steps=6)
    with pytest.raises(
        InputError, match=r"params.yaml: grpo.1: .*keep_steps: 6 must be a multiple of a generation's 4"
    ):
        check_runs(Params(tmp_path / "params.yaml"))


SHIPPED = (ROOT / "params.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ("{1: {parent: sft}}", "grpo.1: expected a number in quotes"),
        ('{"1": {parent: grpo-2}}', "grpo.1.parent: found 'grpo-2', expected one made before it: sft, cycle-1"),
        ('{"1": {parent: base}}', "grpo.1.parent: found 'base'"),
        ("[1]", "grpo: expected a map, found list"),
    ],
)
def test_a_wrong_run_is_one_line(tmp_path: Path, stage: Run, runs: str, message: str) -> None:
    (tmp_path / "params.yaml").write_text(SHIPPED.replace("grpo: {}", f"grpo: {runs}", 1))
    error = stage("settings", code=1).stderr
    assert message in error
    assert error.count("\n") == 1


def test_a_profile_without_the_section_stays_valid(tmp_path: Path, stage: Run) -> None:
    document = yaml.safe_load(SHIPPED)
    for profile in document["profiles"].values():
        profile.pop("grpo", None)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(document))
    assert "all settings valid" in stage("settings").stdout


def test_make_grpo_adds_a_run_and_its_checkpoint_and_no_more(tmp_path: Path, stage: Run) -> None:
    params = tmp_path / "params.yaml"
    params.write_text(SHIPPED)
    assert "added grpo-1" in stage("grpo_runs", "--run", 1, "--no-run").stdout
    stage("grpo_runs", "--run", 2, "--parent", "grpo-1", "--no-run")
    changes = [line for line in difflib.ndiff(SHIPPED.splitlines(), params.read_text().splitlines()) if line[0] in "+-"]
    assert changes == [
        "- grpo: {}",
        "+ grpo:",
        '+   "1": {parent: sft}',
        '+   "2": {parent: grpo-1}',
        "+   - grpo-1",
        "+   - grpo-2",
    ]
    assert "  - cycle-3\n  - grpo-1\n  - grpo-2\n\n" in params.read_text()
    assert "all settings valid" in stage("settings").stdout
    before = params.read_bytes()
    stage("grpo_runs", "--run", 1, "--no-run")
    assert "expected 'cycle-1'" in stage("grpo_runs", "--run", 1, "--parent", "cycle-1", code=1).stderr
    assert "found 'cycle-9'" in stage("grpo_runs", "--run", 3, "--parent", "cycle-9", "--no-run", code=1).stderr
    assert "expected a number of 1 or more" in stage("grpo_runs", "--run", 0, code=1).stderr
    assert params.read_bytes() == before


def test_the_graph_has_no_run_by_default(tmp_path: Path) -> None:
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path)

    def stages() -> set[str]:
        listed = ["dvc", "stage", "list", "--name-only"]
        return set(subprocess.run(listed, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.split())

    subprocess.run(["dvc", "init", "-q", "--no-scm"], cwd=tmp_path, check=True)
    without = stages()
    assert not any("grpo" in name for name in without)
    write_lines(tmp_path / "params.yaml", [SHIPPED.replace("grpo: {}", 'grpo: {"1": {parent: sft}}')])
    assert stages() - without == {"grpo@1"}
