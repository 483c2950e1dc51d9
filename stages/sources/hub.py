"""Rows of a data set from the Hugging Face hub at a pinned commit, or from a local directory in the hub's layout."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stages.common.errors import InputError

if TYPE_CHECKING:
    from datasets import IterableDataset

# What to do where the hub is out of reach.
ADVICE = "set sources.hub in params.yaml to a directory that holds OWNER/NAME as on the hub"


def rows(
    dataset: str,
    config: str,
    split: str,
    columns: Mapping[str, type | None],
    revision: str | None,
    hub: str | None,
    optional: Sequence[str] = (),
) -> Iterator[dict]:
    """The rows of one split as they are read, each with just `columns` (name -> type of the value, None: any) and the
    `optional` ones (None where the data set has no such column).

    Raises InputError, in one line that names the data set, for a directory that is not there, a hub that cannot be
    reached, a commit, config or split that does not exist, a column that is missing and a value of another type.
    """
    where = dataset if hub is None else str(Path(hub) / dataset)
    if hub is not None and not Path(where).is_dir():
        raise InputError(f"{where}: no such directory; {ADVICE}, or to null for the hub itself")
    at = f"{where}, config '{config}', split '{split}'"
    options = {"revision": pinned(dataset, revision)} if hub is None else {}
    return _checked(at, _table(at, where, config, split=split, **options), columns, optional)


def file_rows(
    dataset: str, file: str, columns: Mapping[str, type | None], path: str | None, revision: str | None, hub: str | None
) -> Iterator[dict]:
    """The rows of one file: `path` where it is given, else `file` of `dataset` in the directory `hub` or on the hub."""
    if path is None and hub is None:
        at = f"hf://datasets/{dataset}@{pinned(dataset, revision)}/{file}"
    else:
        at = path or str(Path(hub or "") / dataset / file)
        if not Path(at).is_file():
            raise InputError(f"{at}: no such file; {ADVICE}, or the source's `path` to a file")
    kind = "parquet" if at.endswith(".parquet") else "json"
    return _checked(at, _table(at, kind, None, split="train", data_files=at), columns, ())


def pinned(dataset: str, revision: str | None) -> str:
    """The commit; an InputError that names the newest one, where the hub tells it, if there is none."""
    if revision is not None:
        return revision
    from huggingface_hub import HfApi

    try:
        newest = f"the newest is {HfApi().dataset_info(dataset, timeout=10).sha}"
    except Exception:  # out of reach, for one of many reasons; the advice below holds for all
        newest = f"the hub cannot be reached to tell the newest; {ADVICE}"
    raise InputError(f"{dataset}: revision: missing; pin a commit, so that a rerun reads the same rows; {newest}")


def _checked(
    at: str, table: "IterableDataset", columns: Mapping[str, type | None], optional: Sequence[str]
) -> Iterator[dict]:
    try:
        found = table.column_names or list(next(iter(table), {}))
        for column in columns:
            if column not in found:
                raise InputError(f"{at}: no column '{column}'; found: {', '.join(found) or 'none'}")
        there = [*columns, *(column for column in optional if column in found)]
        absent = dict.fromkeys(column for column in optional if column not in found)
        for number, row in enumerate(table.select_columns(there)):
            for column, kind in columns.items():
                if kind is not None and not isinstance(row[column], kind):
                    said = f"expected {kind.__name__}, found {row[column]!r:.60}"
                    raise InputError(f"{at}, row {number}: '{column}': {said}")
            yield {**row, **absent}
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{at}: cannot read: {_reason(error)}") from None


def _table(at: str, where: str, config: str | None, **options: str) -> "IterableDataset":
    """Read as it goes: nothing is copied, and memory does not grow."""
    # Takes a second to import, and the synthetic source needs none of it.
    from datasets import disable_progress_bars, load_dataset

    for name in ("huggingface_hub", "datasets"):  # what they say of retries and of broken files, our one line says
        logging.getLogger(name).setLevel(logging.CRITICAL)
    disable_progress_bars()  # a bar for each file of half a second says nothing
    try:
        return load_dataset(where, config, streaming=True, **options)
    except Exception as error:  # some ten classes, from httpx, huggingface_hub, pyarrow and datasets
        commit = f" (commit {options['revision'][:12]})" if "revision" in options else ""
        advice = f"{commit}; {ADVICE}" if commit or at.startswith("hf://") else ""
        raise InputError(f"{at}: cannot load: {_reason(error)}{advice}") from None


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
