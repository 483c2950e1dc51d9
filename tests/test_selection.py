"""Which samples a cycle trains on."""

import pytest

from stages.common.demonstrations import demonstrations
from stages.common.errors import InputError
from stages.common.records import Example, Sample, Task, Verdict
from stages.common.selection import paired, replayed, select
from stages.settings.prompts import PromptSettings
from stages.settings.raft import RaftSettings, ReplaySettings
from stages.settings.training import TrainSettings
from tests.conftest import make_task

TRAIN = TrainSettings(learning_rate=1e-3)
DROP = PromptSettings()
CODE = "def f(xs):\n    return {}\n"


def settings(**changes: object) -> RaftSettings:
    return RaftSettings(train=TRAIN, **changes)


def judged(task: int, *rewards: float, codes: list[str] | None = None) -> list[tuple[Sample, Verdict]]:
    """Samples of a task with the given rewards; each is another program unless `codes` says what they are."""
    codes = codes or [CODE.format(number) for number in range(len(rewards))]
    return [
        (Sample(f"t/{task}", n, code), Verdict(f"t/{task}", n, reward, "pass", "", 0, 1))
        for n, (reward, code) in enumerate(zip(rewards, codes, strict=True))
    ]


def chosen(pairs: list, count: int = 3, **changes: object) -> list[tuple[str, int]]:
    tasks = {f"t/{n}": make_task(n) for n in range(count)}
    return [(e.task_id, e.sample) for e in select(pairs, tasks, settings(**changes), "1")]


def test_threshold_counts_from_itself_on() -> None:
    pairs = judged(0, 1.0, 0.7, 0.5)
    assert chosen(pairs) == [("t/0", 0)]
    assert chosen(pairs, threshold=0.7) == [("t/0", 0), ("t/0", 1)]


def test_the_cap_is_per_task_so_that_easy_tasks_do_not_crowd_out_hard_ones() -> None:
    pairs = judged(0, *[1.0] * 9) + judged(1, *[0.0] * 8, 0.7)
    assert chosen(pairs, per_task=2, threshold=0.5) == [("t/0", 0), ("t/0", 1), ("t/1", 8)]


def test_best_rewards_first_then_lowest_number() -> None:
    pairs = judged(0, 0.5, 0.7, 1.0, 0.7, 1.0)
    assert chosen(pairs, per_task=3, threshold=0.5) == [("t/0", 2), ("t/0", 4), ("t/0", 1)]


def test_samples_of_a_task_need_not_be_adjacent() -> None:
    pairs = judged(0, 1.0, 1.0, 1.0)
    mixed = [pairs[0], *judged(1, 1.0), *pairs[1:]]
    assert chosen(mixed) == [("t/0", 0), ("t/0", 1), ("t/0", 2), ("t/1", 0)]


def test_the_same_program_counts_once_whatever_surrounds_it() -> None:
    same = [
        "def f(xs):\n    return 1\n",
        "def f(xs):  \n\n    return 1",
        "Here it is:\n```python\ndef f(xs):\n    return 1\n```",
    ]
    assert chosen(judged(0, 1.0, 1.0, 1.0, codes=same)) == [("t/0", 0)]
    assert len(chosen(judged(0, 1.0, 1.0, 1.0, codes=same), deduplicate=False)) == 3
    # Of twins the better reward stays, so that a flaky twin does not lower it.
    assert chosen(judged(0, 0.7, 1.0, codes=same[:2]), threshold=0.5) == [("t/0", 1)]


def test_a_sample_of_an_unknown_task_is_an_error() -> None:
    with pytest.raises(InputError, match="t/2/0: no such task"):
        chosen(judged(2, 1.0), count=2)


def test_samples_and_verdicts_must_match() -> None:
    (first, verdict), (second, _) = judged(0, 1.0, 1.0)
    with pytest.raises(InputError, match="record 2: the verdicts end here"):
        list(paired([first, second], [verdict]))
    with pytest.raises(InputError, match="record 1: sample t/0/1 beside the verdict of t/0/0"):
        list(paired([second], [verdict]))


def example(task: str, cycle: str, completion: str) -> Example:
    return Example(task, 0, cycle, 1.0, "p", "python", completion)


def test_replay_brings_earlier_cycles_and_a_draw_of_demonstrations() -> None:
    shown = demonstrations([make_task(n, reference=CODE.format(n)) for n in range(9)] + [make_task(9)], DROP)
    assert len(shown) == 9
    earlier = [example("a", "1", "x"), example("a", "1", "y"), example("s", "sft", "z")]
    own = [example("a", "2", "x")]
    assert replayed(earlier, shown, own, ReplaySettings(), 0) == [earlier[1]]
    assert replayed(earlier, shown, own, ReplaySettings(cycles=False), 0) == []
    drawn = replayed(earlier, shown, own, ReplaySettings(cycles=False, sft=4), 0)
    assert len(drawn) == 4
    assert set(drawn) <= set(shown)
    assert drawn == replayed(earlier, shown, own, ReplaySettings(cycles=False, sft=4), 0)
    assert len(replayed(earlier, shown, own, ReplaySettings(cycles=False, sft=99), 0)) == 9


def test_demonstrations_are_the_references(tmp_path: object) -> None:
    task: Task = make_task(3, reference="r")
    (shown,) = demonstrations([task], DROP)
    assert (shown.task_id, shown.cycle, shown.completion, shown.prompt) == ("t/3", "sft", "r", task.prompt)
