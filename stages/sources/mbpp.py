"""MBPP (Austin et al. 2021): Python functions from a sentence, with three assertions each. CC-BY-4.0.

Its own splits are kept: train, validation, and test as benchmark. The configs name their columns differently.
"""

import ast
import builtins
import warnings
from collections.abc import Iterator
from itertools import islice

from stages.common.errors import InputError
from stages.common.records import Task
from stages.settings.sources import MbppSettings
from stages.sources import Row
from stages.sources.hub import rows as hub_rows

DATASET = "google-research-datasets/mbpp"
# The columns that both configs have, and those of each.
COLUMNS = {"task_id": int, "code": str, "test_list": list}
CONFIGS = {
    "full": {"text": str, "test_setup_code": str, "challenge_test_list": list},
    "sanitized": {"prompt": str, "test_imports": list},
}
SPLITS = {"train": "train", "validation": "validation", "benchmark": "test"}


def rows(settings: MbppSettings, hub: str | None, seed: int) -> Iterator[Row]:
    """The tasks of every split; with `few_shot`, those of split `prompt` follow the train tasks."""
    columns = COLUMNS | CONFIGS[settings.config]
    splits = list(SPLITS.items())
    if settings.few_shot:
        splits.insert(1, ("train", "prompt"))
    for ours, theirs in splits:
        table = hub_rows(DATASET, settings.config, theirs, columns, settings.revision, hub)
        for row in islice(table, settings.limit):
            yield Row(ours, task(row, settings))


def task(row: dict, settings: MbppSettings) -> Task:
    """The prompt is the sentence and, unless the settings say no, the assertions: only they name the function."""
    sanitized = settings.config == "sanitized"
    text = row["prompt"] if sanitized else row["text"]
    setup = "\n".join(row["test_imports"]) if sanitized else row["test_setup_code"]
    challenge = row["challenge_test_list"] if settings.challenge_tests and not sanitized else []
    assertions = [unix(line).strip() for line in row["test_list"]]
    code = unix(row["code"])
    prompt = unix(text).strip()
    if settings.tests_in_prompt:
        prompt += "\nYour code should pass these tests:\n" + "\n".join(assertions)
    tests = [unix(setup).strip(), *assertions, *(unix(line).strip() for line in challenge)]
    return Task(
        task_id=f"mbpp/{row['task_id']}",
        language="python",
        prompt=prompt + "\n",
        verifier="pytest",
        entry_point=entry_point(assertions, code, f"{DATASET}: task {row['task_id']}"),
        tests="\n".join(filter(None, tests)) + "\n",
        cases=[],
        reference=code,
        source="mbpp",
        meta={"category": "mbpp", "statement": unix(text).strip()},
    )


def unix(text: str) -> str:
    """The text with the line ends of Unix; most of MBPP's code has those of DOS."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def entry_point(assertions: list[str], code: str, where: str) -> str:
    """The function under test: the outermost one called in the first assertion that the reference defines.

    `assert set(f(x)) == ...` calls `set` first, and `assert f([Pair(1, 2)]) == 2` also calls a class.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some references have escapes that Python warns about: not ours to mend
            defined = {getattr(node, "name", None) for node in ast.parse(code).body}
            calls = [node.func for node in ast.walk(ast.parse(assertions[0])) if isinstance(node, ast.Call)]
    except (SyntaxError, IndexError):
        raise InputError(f"{where}: the reference or the first assertion is no Python") from None
    called = [function.id for function in calls if isinstance(function, ast.Name)]
    names = [name for name in called if name in defined] or [n for n in called if not hasattr(builtins, n)]
    if not names:
        raise InputError(f"{where}: the first assertion calls no function: {assertions[0][:80]}")
    return names[0]
