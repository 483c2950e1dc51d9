"""Which samples a cycle trains on."""

import pytest

from stages.common.demonstrations import demonstrations
from stages.common.errors import InputError
from stages.common.rates import Counting
from stages.common.records import Example, Rate, Sample, Task, Verdict
from stages.common.selection import paired, replayed, select, unverified, weighted
from stages.settings.cycle import CycleSettings
from stages.settings.prompts import PromptSettings
from stages.settings.raft import HardnessSettings, RaftSettings, ReplaySettings, for_cycle
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


def test_of_equal_rewards_the_shortest_or_longest_are_kept() -> None:
    codes = [CODE.format("1" * length) for length in (3, 1, 2)]
    pairs = judged(0, 1.0, 1.0, 1.0, codes=codes)
    assert chosen(pairs, per_task=2) == [("t/0", 0), ("t/0", 1)]
    assert chosen(pairs, per_task=2, prefer="shortest") == [("t/0", 1), ("t/0", 2)]
    assert chosen(pairs, per_task=2, prefer="longest") == [("t/0", 0), ("t/0", 2)]
    better = judged(0, 0.7, 1.0, 1.0, codes=codes)
    assert chosen(better, per_task=1, prefer="longest", threshold=0.5) == [("t/0", 2)], "the reward comes first"


def test_a_sample_without_text_is_none() -> None:
    assert chosen(judged(0, 1.0, 1.0, codes=["", CODE.format(1)])) == [("t/0", 1)]


def test_hard_tasks_weigh_more() -> None:
    tasks = {f"t/{n}": make_task(n) for n in range(3)}
    counting = Counting(threshold=1.0)
    pairs = judged(0, 1.0, 1.0, 1.0, 0.7) + judged(1, 1.0, 0.7, 0.0, 0.0) + judged(2, *[0.0] * 9, 1.0)
    examples = select(counting(pairs), tasks, settings(), "1")
    rates = counting.rates("1", 1)
    assert rates["t/1"] == Rate("t/1", "1", 1, 4, 1)
    weights = {e.task_id: e.weight for e in weighted(examples, rates, HardnessSettings(most=6))}
    assert weights == {"t/0": 1, "t/1": 4, "t/2": 6}
    assert {e.weight for e in weighted(examples, rates, None)} == {1}


def test_a_control_draws_without_a_look_at_verdicts() -> None:
    tasks = {f"t/{n}": make_task(n) for n in range(20)}
    samples = [sample for n in range(20) for sample, _ in judged(n, *[0.0] * 6)] + [Sample("t/0", 9, "")]
    drawn = unverified(samples, tasks, settings(per_task=2), "1", 15, seed=0)
    assert len(drawn) == 15
    assert all(e.reward == 0 and e.cycle == "1" and e.completion for e in drawn)
    assert max(sum(e.task_id == task for e in drawn) for task in tasks) <= 2
    assert [e.task_id for e in drawn] == sorted((e.task_id for e in drawn), key=list(tasks).index)
    assert drawn == unverified(samples, tasks, settings(per_task=2), "1", 15, seed=0)
    assert drawn != unverified(samples, tasks, settings(per_task=2), "1", 15, seed=1)
    assert len(unverified(samples, tasks, settings(per_task=2), "1", 99, seed=0)) == 40, "no more are there"


def test_a_cycle_s_own_settings_and_its_place() -> None:
    own = CycleSettings(parent="sft")
    raft = settings(rate_factor=0.5)
    assert [for_cycle(raft, own, place).train.learning_rate for place in (1, 2, 3)] == [1e-3, 5e-4, 2.5e-4]
    own = CycleSettings(parent="sft", learning_rate=0.1, threshold=0.7)
    assert (for_cycle(raft, own, 3).train.learning_rate, for_cycle(raft, own, 3).threshold) == (0.1, 0.7)


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
