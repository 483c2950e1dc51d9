"""The synthetic source: deterministic, disjoint splits, and tests that a near miss cannot pass."""

import os
import random
import subprocess
import sys
from itertools import islice, pairwise
from pathlib import Path

import pytest

from stages.common.errors import InputError
from stages.common.records import Task
from stages.settings.sources import SyntheticSettings
from stages.sources.synthetic import english, examples, load, operations, pretraining_texts, python, splits
from stages.sources.synthetic.operations import CATEGORIES, Operation, Program, final_operations, step_operations

ROOT = Path(__file__).parents[2]
SETTINGS = SyntheticSettings()
PRINT_ALL = """
from stages.sources import load
from stages.sources.synthetic import pretraining_texts
from stages.common.records import encode
from stages.settings.sources import SyntheticSettings
settings = SyntheticSettings(demonstrations=[5, 9, 9], prompts=[0, 9, 9], validation=[1, 5, 5], benchmark=[1, 5, 5])
for tasks in load("synthetic", settings, None, 7).values():
    print(*map(encode, tasks), sep="\\n")
print(*pretraining_texts([40, 40, 40], 7))
"""


@pytest.fixture(scope="module")
def tasks() -> dict[str, list[Task]]:
    return load(SETTINGS, None, 0)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return pretraining_texts([1500, 1300, 200], 0)


def body(code: str) -> str:
    """The code without its function's name: the same for the same program."""
    return code.split("(", 1)[1].strip()


def programs(split: str, kind: str = "seen", steps: int = 2, size: int = 200) -> list[splits.Draw]:
    return list(islice(splits.draw(split, steps, kind, 0), size))


def passes(code: str, tests: str) -> bool:
    names: dict = {}
    exec(code, names)
    try:
        exec(tests, names)
    except AssertionError:
        return False
    return True


def test_two_processes_agree_whatever_the_hash_seed() -> None:
    outputs = [
        subprocess.run(
            [sys.executable, "-c", PRINT_ALL],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert len(outputs[0]) > 10_000


def test_sizes_order_and_ids(tasks: dict[str, list[Task]]) -> None:
    assert [len(tasks[split]) for split in ("train", "validation", "benchmark")] == [1200, 80, 160]
    has_reference = [task.reference is not None for task in tasks["train"]]
    assert has_reference == [True] * 600 + [False] * 600
    assert [task.meta["steps"] for task in tasks["train"][:600]] == [1] * 100 + [2] * 300 + [3] * 200
    assert tasks["train"][7].task_id == "synthetic/train/0007"
    ids = [task.task_id for split in tasks.values() for task in split]
    assert len(set(ids)) == len(ids)
    assert all(task.reference for split in ("validation", "benchmark") for task in tasks[split])


def test_half_of_the_benchmark_is_unseen(tasks: dict[str, list[Task]]) -> None:
    kinds = [task.meta["composition"] for task in tasks["benchmark"]]
    assert (kinds.count("seen"), kinds.count("unseen")) == (80, 80)
    assert {task.meta["composition"] for task in tasks["train"] + tasks["validation"]} == {"seen"}
    assert {task.meta["category"] for task in tasks["benchmark"]} == {"list", "string"}


def test_no_prompt_comes_twice(tasks: dict[str, list[Task]], texts: list[str]) -> None:
    prompts = [task.prompt for split in tasks.values() for task in split]
    prompts += [text.splitlines()[0].removeprefix("# ") for text in texts]
    assert len(prompts) == 1440 + 3000
    assert len(set(prompts)) == len(prompts)


def test_no_program_is_in_two_splits(tasks: dict[str, list[Task]], texts: list[str]) -> None:
    groups = [
        {body(text.split("\n", 1)[1]) for text in texts},
        {body(task.reference) for task in tasks["train"] if task.reference},
        {body(task.reference) for task in tasks["validation"]},
        {body(task.reference) for task in tasks["benchmark"]},
    ]
    assert len(set.union(*groups)) == sum(map(len, groups))
    drawn = {split: {str(draw.program) for draw in programs(split)} for split in splits.SHARES}
    assert len(set.union(*drawn.values())) == sum(map(len, drawn.values())) == 1000


def test_banned_pairs_are_in_the_benchmark_alone() -> None:
    """Pairs of kinds in the unseen half never occur side by side in what the other splits draw."""

    def pairs(drawn: list[splits.Draw]) -> set[tuple[str, str, str]]:
        return {
            (draw.program.category.name, a.kind.name, b.kind.name)
            for draw in drawn
            for a, b in pairwise(draw.program.steps)
        }

    banned = pairs(programs("benchmark", "unseen"))
    assert len(banned) > 30
    for split in splits.SHARES:
        for steps in (2, 3):
            assert not banned & pairs(programs(split, steps=steps, size=400)), split


def test_every_operation_is_taught_and_used(tasks: dict[str, list[Task]], texts: list[str]) -> None:
    """No kind is lost to the refusal of tasks without telling tests."""
    for category in CATEGORIES:
        for written in (*python.STEPS[category.name].values(), *python.FINALS[category.name].values()):
            start = written.split("{k")[0]
            assert any(start in text for text in texts), written
            assert any(start in (task.reference or "") for task in tasks["train"]), written


def test_every_operation_has_words_and_code_that_agree_with_its_function() -> None:
    rng = random.Random(0)
    for category in CATEGORIES:
        steps, finals = step_operations(category), final_operations(category)
        assert {o.kind.name for o in steps} == set(english.STEPS[category.name]) == set(python.STEPS[category.name])
        assert {o.kind.name for o in finals} == set(english.FINALS[category.name]) == set(python.FINALS[category.name])
        argument = [] if category.name == "list" else ""
        other = [5, -3, 0, 2, 2, 9, 14] if category.name == "list" else "aE ot1stn"
        pairs = [(step, finals[0]) for step in steps[1:]] + [(steps[0], final) for final in finals]
        words = set()
        for step, final in pairs:
            program = Program(category, (step,), final)
            words.add(english.request(program, "run", rng))
            tests = python.assertions("run", [(value, program(value)) for value in (argument, other)])
            assert passes(python.code(program, "run"), tests), program
        assert len(words) == len(pairs)


def test_references_pass_their_own_tests(tasks: dict[str, list[Task]]) -> None:
    for split in tasks.values():
        for task in split:
            assert task.tests.count(f"assert {task.entry_point}(") == 6
            if task.reference:
                assert passes(task.reference, task.tests), task.task_id


def test_near_misses_fail() -> None:
    """A wrong operation, a wrong constant or a step left out, written as code and run: at least one test fails."""
    for steps in (1, 2, 3):
        judged = 0
        for drawn in splits.draw("demonstrations", steps, "seen", 3):
            chosen = examples.choose(drawn.program, drawn.rng)
            if chosen is None:
                continue
            tests = python.assertions("run", chosen)
            assert passes(python.code(drawn.program, "run"), tests)
            for wrong in mutants(drawn.program):
                assert not passes(python.code(wrong, "run"), tests), (drawn.program, wrong)
            judged += 1
            if judged == 34:
                break


def mutants(program: Program) -> list[Program]:
    """Written apart from `examples.near_misses`, so that a mistake there shows."""
    category, steps, final = program.category, program.steps, program.final
    found = [Program(category, steps[:i] + steps[i + 1 :], final) for i in range(len(steps))]
    for kind in category.steps:
        for constant in kind.constants:
            for i, step in enumerate(steps):
                if (step.kind.name, step.constant) != (kind.name, constant):
                    wrong = (*steps[:i], Operation(kind, constant), *steps[i + 1 :])
                    found.append(Program(category, wrong, final))
    for kind in category.finals:
        for constant in kind.constants:
            if (final.kind.name, final.constant) != (kind.name, constant):
                found.append(Program(category, steps, Operation(kind, constant)))
    return found


def test_no_constant_function_passes_more_than_half(tasks: dict[str, list[Task]]) -> None:
    for task in tasks["benchmark"]:
        expected = [line.split(" == ")[1] for line in task.tests.splitlines()]
        assert max(map(expected.count, expected)) <= 3, task.task_id
        assert f"assert {task.entry_point}({'[]' if task.meta['category'] == 'list' else repr('')}) ==" in task.tests


def test_splits_do_not_depend_on_each_other_s_sizes(tasks: dict[str, list[Task]], texts: list[str]) -> None:
    """More prompts must not retrain the base model, and a larger benchmark must not change the training data."""
    changed = SyntheticSettings(prompts=[0, 10, 10], benchmark=[0, 6, 6])
    again = load(changed, None, 0)
    assert again["train"][:600] == tasks["train"][:600]
    assert again["train"][600].prompt == tasks["train"][600].prompt
    assert again["validation"] == tasks["validation"]
    assert pretraining_texts([100, 0, 0], 0) == texts[:100]
    assert load(changed, None, 1)["train"][0] != tasks["train"][0]


def test_more_tasks_than_there_are_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "PATIENCE", 100)
    with pytest.raises(
        InputError, match=r"^synthetic pretraining: asked for 90000 seen tasks of 1 step\(s\), there are only \d+$"
    ):
        pretraining_texts([90_000, 0, 0], 0)
    none = {split: [0, 0, 0] for split in ("demonstrations", "prompts", "validation")}
    with pytest.raises(
        InputError, match=r"^synthetic benchmark: asked for 5000 seen tasks of 2 step\(s\), there are only \d+$"
    ):
        load(SyntheticSettings(**none, benchmark=[0, 10_000, 0]), None, 0)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"benchmark": [0, 80]}, "p: s.benchmark: found [0, 80]: List should have at least 3 items"),
        ({"prompts": [0, -1, 0]}, "p: s.prompts.1: found -1: "),
        ({"prompts": [0, "9", 0]}, "p: s.prompts.1: found '9': "),
        ({"prompt": [0, 0, 0]}, "p: s.prompt: unknown key; did you mean 'prompts'?"),
    ],
)
def test_wrong_settings_are_one_line(value: dict, message: str) -> None:
    with pytest.raises(InputError) as error:
        SyntheticSettings.parse(value, "p: s")
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_no_other_split_holds_a_program_that_does_what_a_benchmark_program_does() -> None:
    """Compared by results on arguments that the split was not decided by."""
    rng = random.Random(5)
    arguments = {
        "list": [[rng.randint(-30, 30) for _ in range(n % 15)] for n in range(600)],
        "string": ["".join(rng.choices("aenotsumzxybAENOT 1!-", k=n % 15)) for n in range(600)],
    }

    def does(split: str, kind: str = "seen") -> set[str]:
        drawn = (d for steps in (1, 2, 3) for d in islice(splits.draw(split, steps, kind, 0), 300))
        programs = (d.program for d in drawn)
        return {f"{p.category.name}{[p(value) for value in arguments[p.category.name]]!r}" for p in programs}

    benchmark = does("benchmark") | does("benchmark", "unseen")
    for split in ("pretraining", "demonstrations", "prompts", "validation"):
        assert not benchmark & does(split), split


def test_roundabout_programs_are_refused() -> None:
    kinds = {kind.name: kind for kind in operations.LIST.steps}
    finals = {kind.name: kind for kind in operations.LIST.finals}

    def program(*names: str) -> operations.Program:
        steps = tuple(operations.Operation(kinds[name], kinds[name].constants[0]) for name in names)
        return operations.Program(operations.LIST, steps, operations.Operation(finals["itself"], None))

    assert splits.is_roundabout(program("reverse", "reverse"))
    assert splits.is_roundabout(program("negate", "double", "negate"))
    assert not splits.is_roundabout(program("double", "reverse"))
