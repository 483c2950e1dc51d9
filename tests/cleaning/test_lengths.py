"""Lengths in tokens, and what a file that is no tokenizer says."""

from pathlib import Path

import pytest

from stages.cleaning.lengths import Length, Lengths
from stages.common.errors import InputError
from stages.settings.data import LengthSettings
from tests.conftest import make_task
from tests.preparing import prepared

SMALL = {"demonstrations": [20, 0, 0], "prompts": [0, 0, 0], "validation": [5, 0, 0], "benchmark": [0, 4, 0]}


@pytest.fixture
def tokenizer(checkpoint: Path) -> Path:
    return checkpoint / "tokenizer.json"


def test_tokens_are_those_of_the_tokenizer(tokenizer: Path, checkpoint: Path) -> None:
    from transformers import AutoTokenizer

    other = AutoTokenizer.from_pretrained(checkpoint)
    task = make_task(7, reference="def f(xs):\n    return [x + 7 for x in xs]\n", reasoning="Seven more, then.")
    prompt, code, thought = (
        len(other(text, add_special_tokens=False)["input_ids"])
        for text in (task.prompt, task.reference, task.reasoning)
    )
    assert Lengths(tokenizer, LengthSettings()).of(task) == Length(prompt, prompt + code)
    assert Lengths(tokenizer, LengthSettings(reasoning=True)).of(task) == Length(prompt, prompt + code + thought)
    assert Lengths(tokenizer, LengthSettings()).of(make_task(7)) == Length(prompt, prompt)


def test_a_limit_is_the_longest_that_passes(tokenizer: Path) -> None:
    lengths = Lengths(tokenizer, LengthSettings(prompt=10, example=20))
    assert [lengths.excess(Length(*length)) for length in ((10, 20), (11, 20), (10, 21))] == [
        None,
        "long_prompt",
        "long_example",
    ]


def test_lone_surrogates_are_counted(tokenizer: Path) -> None:
    assert Lengths(tokenizer, LengthSettings()).of(make_task(1, prompt="\ud800 and \0")).prompt > 1


def test_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tokenizer\.json: no such file; expected the base model's tokenizer\.json$"):
        Lengths(tmp_path / "tokenizer.json", LengthSettings())
    with pytest.raises(InputError, match=r"^--tokenizer: missing; data\.lengths counts in tokens of the base model$"):
        prepared(tmp_path, "synthetic", SMALL, data={"lengths": {"prompt": 9}})
    assert not (tmp_path / "tasks").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b'{"version": "1.0"}', b"\xff\x00", b"[1]\n\n[2]"])
def test_a_broken_tokenizer_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        Lengths(path, LengthSettings())
    assert str(error.value).startswith(f"{path}: not a tokenizer: ")
    assert "\n" not in str(error.value)


def test_prepare_counts_tokens_and_drops_what_is_too_long(tmp_path: Path, tokenizer: Path) -> None:
    settings = SMALL | {"check_references": False}
    found = prepared(tmp_path, "synthetic", settings, tokenizer=tokenizer)
    tasks = [task for split in found.splits.values() for task in split]
    lengths = Lengths(tokenizer, LengthSettings())
    assert len(tasks) == 29
    for name, of in (("prompt_tokens", "prompt"), ("example_tokens", "example")):
        histogram = {int(limit): count for limit, count in found.metrics[name].items()}
        assert sum(histogram.values()) == len(tasks)
        assert list(histogram) == sorted(histogram)
        counts = [getattr(lengths.of(task), of) for task in tasks]
        for limit, count in histogram.items():
            assert count == sum(limit / 2 < tokens <= limit for tokens in counts)
    limits = sorted(lengths.of(task).prompt for task in found.splits["train"])
    limit = limits[len(limits) // 2]
    fewer = prepared(tmp_path, "synthetic", settings, data={"lengths": {"prompt": limit}}, tokenizer=tokenizer)
    assert len(fewer.splits["train"]) == sum(tokens <= limit for tokens in limits)
    assert fewer.splits["benchmark"] == found.splits["benchmark"], "a benchmark keeps all of its tasks"
    gone = set(found.ids("train") + found.ids("validation")) - set(fewer.ids("train") + fewer.ids("validation"))
    assert gone and sorted(fewer.metrics["dropped_long_prompt_ids"]) == sorted(gone)
    short = {"lengths": {"example": limits[0]}}
    none = prepared(tmp_path, "synthetic", settings, data=short, tokenizer=tokenizer)
    assert (none.ids("train"), none.metrics["dropped_long_example"]) == ([], 25)
