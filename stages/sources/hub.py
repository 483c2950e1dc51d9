"""Rows of a data set from the Hugging Face hub at a pinned commit, or from a local directory in the hub's layout."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from stages.common.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset

# What to do where the hub is out of reach.
ADVICE = "set sources.hub in params.yaml to a directory that holds OWNER/NAME as on the hub"


def rows(
    dataset: str, config: str, split: str, columns: Mapping[str, type], revision: str, hub: str | None
) -> Iterator[dict]:
    """The rows of one split, each with just `columns` (name -> type of the value).

    Raises InputError, in one line that names the data set, for a directory that is not there, a hub that cannot be
    reached, a commit, config or split that does not exist, a column that is missing and a value of another type.
    """
    where = dataset if hub is None else str(Path(hub) / dataset)
    if hub is not None and not Path(where).is_dir():
        raise InputError(f"{where}: no such directory; {ADVICE}, or to null for the hub itself")
    at = f"{where}, config '{config}', split '{split}'"
    with contextlib.ExitStack() as stack:
        if hub is None:
            table = _table(at, where, config, split=split, revision=revision)
        else:
            # The usual cache knows a directory by its name and card, not by its data: it would serve stale rows.
            cache = stack.enter_context(tempfile.TemporaryDirectory())
            table = _table(at, where, config, split=split, cache_dir=cache)
        for column in columns:
            if column not in table.column_names:
                raise InputError(f"{at}: no column '{column}'; found: {', '.join(table.column_names)}")
        for number, row in enumerate(table.select_columns(list(columns))):
            for column, kind in columns.items():
                if not isinstance(row[column], kind):
                    found = f"expected {kind.__name__}, found {row[column]!r:.60}"
                    raise InputError(f"{at}, row {number}: '{column}': {found}")
            yield row


def _table(at: str, where: str, config: str, **options: str) -> "Dataset":
    # Takes a second to import, and the synthetic source needs none of it.
    from datasets import disable_progress_bars, load_dataset
    from datasets.exceptions import DatasetGenerationError

    disable_progress_bars()  # a bar for each file of half a second says nothing
    try:
        return load_dataset(where, config, **options)
    except Exception as error:  # some ten classes, from httpx, huggingface_hub, pyarrow and datasets
        cause = (isinstance(error, DatasetGenerationError) and error.__cause__) or error
        reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0][:200]
        advice = f" (commit {options['revision'][:12]}); {ADVICE}" if "revision" in options else ""
        raise InputError(f"{at}: cannot load: {reason}{advice}") from None
