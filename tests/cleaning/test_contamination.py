"""What tells a benchmark task's copy, and what does not."""

import random
import re

import pytest

from stages.cleaning import DISJOINT
from stages.cleaning.contamination import Contamination, Leak
from stages.common.records import Task
from stages.settings.data import ContaminationSettings
from tests.conftest import make_task

WORDS = re.findall(
    r"\w+",
    """apple river stone cloud letter market garden signal window planet bridge camera ticket forest harbor copper
    engine violin marble saddle lantern pepper anchor meadow falcon mirror timber velvet walnut zephyr""",
)


def text(seed: object, count: int = 30) -> str:
    """Words in an order that no other seed has."""
    return " ".join(random.Random(str(seed)).choices(WORDS, k=count))


def leaks(benchmark: list[Task], tasks: list[Task], common: int = 10) -> list[Leak | None]:
    contamination = Contamination(ContaminationSettings(common=common), DISJOINT)
    for task in benchmark:
        contamination.add(task)
    for task in tasks:
        contamination.note(task)
    return [contamination.leak(task) for task in tasks]


def test_a_shared_run_of_words_tells_a_copy_and_is_the_evidence() -> None:
    secret = text("secret")
    run = " ".join(secret.split()[5:18])
    benchmark = make_task(1, task_id="b/1", prompt=secret)
    inside = make_task(2, prompt=f"{text(2)} {run.upper().replace(' ', ',  ', 3)}! {text(3)}")
    shorter = make_task(3, prompt=f"{text(4)} {' '.join(run.split()[:12])} {text(5)}")
    found = leaks([benchmark], [inside, shorter])
    assert found == [Leak("prompt_words", "b/1", run), None]


def test_a_run_in_a_solution_s_comments_or_code() -> None:
    secret = text("secret")
    body = f"    total = {text('code', 9).replace(' ', ' + ')}\n"
    benchmark = [
        make_task(1, task_id="b/1", prompt=secret),
        make_task(2, task_id="b/2", prompt=text("other"), reference=f"def f(xs):\n{body}    return xs\n"),
    ]
    told = make_task(3, prompt=text(3), reference=f"# {secret}\ndef f(xs):\n    return xs[3:]\n")
    copied = make_task(4, prompt=text(4), reference=f"def f(xs):\n    xs = xs[1:]\n{body}    return xs or None\n")
    clean = make_task(5, prompt=text(5), reference="def f(xs):\n    return sorted(xs, key=lambda x: -x)\n")
    found = leaks(benchmark, [told, copied, clean])
    assert [leak and (leak.reason, leak.benchmark) for leak in found] == [
        ("solution_words", "b/1"),
        ("solution_words", "b/2"),
        None,
    ]


def test_a_turn_of_phrase_is_no_copy_but_a_whole_statement_is() -> None:
    phrase = text("phrase", 14)
    secret = f"{text('a', 8)} {phrase} {text('b', 8)}"
    benchmark = make_task(0, task_id="b/1", prompt=secret)
    users = [make_task(n, prompt=f"{text(n)} u{n} {phrase} v{n} {text(-n)}") for n in range(1, 12)]
    whole = make_task(99, prompt=f"Please. {secret} Thanks.")
    assert leaks([benchmark], users[:10]) == [Leak("prompt_words", "b/1", " ".join(phrase.split()[:13]))] * 10
    found = leaks([benchmark], [*users, whole])
    assert found[:-1] == [None] * 11
    assert found[-1] is not None
    # Most of the runs are there, but each as common as a phrase: fifteen reworded copies do not hide one another.
    copies = [make_task(n, prompt=f"{text(n, 4)}. {secret} {text(-n, 4)}.") for n in range(15)]
    assert None not in leaks([benchmark], copies)


def test_many_solutions_of_one_problem_do_not_make_a_phrase() -> None:
    run = text("secret", 20)
    benchmark = make_task(0, task_id="b/1", prompt=f"{run} {text('c', 60)}")
    same = [make_task(n, prompt=f"{text('s')} {run} {text('t')}", meta={"n": n}) for n in range(30)]
    assert None not in leaks([benchmark], same)


def test_what_many_benchmark_tasks_share_is_a_phrase() -> None:
    phrase = text("phrase", 14)
    prompts = [f"{text(n)} u{n} {phrase} v{n} {text(-n)}" for n in range(100)]
    benchmark = [make_task(n, task_id=f"b/{n}", prompt=prompts[n]) for n in range(11)]
    task = make_task(99, prompt=prompts[99])
    assert leaks(benchmark, [task]) == [None]
    assert leaks(benchmark[:10], [task]) != [None]


def test_rows_of_numbers_are_no_run() -> None:
    row = " ".join(map(str, range(100, 130)))
    assert leaks([make_task(1, prompt=f"Sort {row}.")], [make_task(2, prompt=f"Add up {row}, please.")]) == [None]


@pytest.mark.parametrize(("name", "other"), [("f", "solve_it"), ("solve_it", "f"), ("f", "g")])
def test_the_function_s_name_does_not_count(name: str, other: str) -> None:
    """Nor do letters of other words that happen to be its name."""
    ask = "Write {0}: a function of a list of files, half of which {0} fills if it is a safe one, in a row of five."
    benchmark = make_task(1, task_id="b/1", prompt=ask.format(name), entry_point=name)
    copy = make_task(2, prompt=ask.format(other), entry_point=other)
    longer = make_task(3, prompt=f"Hello. {ask.format(other)}", entry_point=other)
    found = leaks([benchmark], [copy, longer])
    assert [leak and leak.reason for leak in found] == ["prompt", "prompt_words"]


def test_sources_that_keep_splits_apart_are_exempt_from_words_only() -> None:
    """Synthetic tasks are sentences of one pattern; equal code or an equal prompt is a copy among them, too."""
    secret = text("secret")
    code = "def f(xs):\n    return [x + 1 for x in xs]\n"
    benchmark = make_task(1, task_id="b/1", prompt=secret, source="synthetic", reference=code)
    same_words = {"prompt": f"{secret} and more"}
    tasks = [
        make_task(2, source="synthetic", **same_words),
        make_task(3, source="synthetic", prompt=text(3), reference=code.replace("x", "y")),
        make_task(4, source="synthetic", prompt=secret.upper()),
        make_task(5, source="mine", **same_words),
    ]
    reasons = [leak and leak.reason for leak in leaks([benchmark], tasks)]
    assert reasons == [None, "solution", "prompt", "prompt_words"]


def test_a_statement_in_meta_hides_no_prompt() -> None:
    """What a task calls its statement is its own word: the prompt counts as well, and so do the thoughts."""
    long = "Count how many of the numbers in the list are larger than all of those that stand before them there."
    text = f"Solve this.\n\n{long}\n"
    benchmark = Task("b", "python", f"{long}\n", "pytest", "f", "assert f([1]) == 1", [])
    hidden = Task("h", "python", text, "pytest", "g", "assert g([1])", [], meta={"statement": "Something else."})
    thought = Task("t", "python", "Do it.\n", "pytest", "g", "assert g([1])", [], "def g(x):\n    return x\n", long)
    clean = Task("c", "python", "Do something else.\n", "pytest", "g", "assert g([1])", [])
    contamination = Contamination(ContaminationSettings())
    contamination.add(benchmark)
    found = [contamination.leak(task) for task in (hidden, thought, clean)]
    assert [leak and leak.reason for leak in found] == ["prompt_words", "solution_words", None]
