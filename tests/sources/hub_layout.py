"""Writes small data sets in the layout of the Hugging Face hub."""

from pathlib import Path

import pyarrow
import pyarrow.parquet

HUMANEVAL_ROW = {
    "task_id": "HumanEval/0",
    "prompt": 'def inc(x):\n    """One more."""\n',
    "canonical_solution": "    return x + 1\n",
    "test": "def check(candidate):\n    assert candidate(1) == 2\n    assert candidate(5) == 6\n",
    "entry_point": "inc",
}
MBPP_ROW = {
    "task_id": 601,
    "text": "Write a function to double a number.",
    "code": "def twice(x):\r\n    return 2 * x\r\n",
    "test_list": ["assert twice(1) == 2", "assert twice(2) == 4", "assert twice(0) == 0"],
    "test_setup_code": "",
    "challenge_test_list": ["assert twice(-1) == -2"],
}


def write_dataset(directory: Path, config: str, splits: dict[str, list[dict]]) -> None:
    """One parquet file per split, and the card that names them."""
    (directory / config).mkdir(parents=True)
    lines = ["---", "configs:", f"- config_name: {config}", "  data_files:"]
    for split, rows in splits.items():
        pyarrow.parquet.write_table(
            pyarrow.Table.from_pylist(rows), directory / config / f"{split}-00000-of-00001.parquet"
        )
        lines += [f"  - split: {split}", f"    path: {config}/{split}-*"]
    (directory / "README.md").write_text("\n".join([*lines, "---", ""]))


def write_humaneval(hub: Path, rows: list[dict]) -> None:
    """HumanEval with these rows."""
    write_dataset(hub / "openai" / "openai_humaneval", "openai_humaneval", {"test": rows})


def write_mbpp(hub: Path, rows: list[dict]) -> None:
    """MBPP `full` with these rows in each split, their ids kept apart."""
    splits = {}
    for start, split in ((601, "train"), (11, "test"), (511, "validation"), (1, "prompt")):
        splits[split] = [{**row, "task_id": start + number} for number, row in enumerate(rows)]
    write_dataset(hub / "google-research-datasets" / "mbpp", "full", splits)


CODEFORCES_ROW = {
    "id": "1/A",
    "title": "Sum",
    "time_limit": 2.0,
    "memory_limit": 256.0,
    "description": "Add the two numbers.\r\n",
    "input_format": "Two integers.",
    "output_format": "Their sum.",
    "examples": [{"input": "1 2\r\n", "output": "3\r\n"}, {"input": "4 5\n", "output": "9\n"}],
    "note": "Easy.",
    "index": "A",
    "contest_start_year": 2020,
    "finish_reason": "stop",
    "interaction_format": None,
    "generation": "<think>\nFirst try:\n```python\nprint(0)\n```\n</think>\n\nAdd them.\n\n"
    "```python\nprint(1)\n```\nNo, rather:\n```python\nprint(sum(map(int, input().split())))\n```\nDone.\n",
}


def write_codeforces(hub: Path, rows: list[dict], config: str = "solutions_py") -> None:
    """codeforces-cots with these rows in one config."""
    write_dataset(hub / "open-r1" / "codeforces-cots", config, {"train": rows})
