"""Settings of cleaning: section `data` of a profile. All have defaults."""

from pydantic import Field

from stages.common.params import Settings


class LengthSettings(Settings):
    """Limits on training and validation tasks, in tokens of the base model's tokenizer; null: none. Benchmark tasks
    are never dropped by length."""

    prompt: int | None = Field(None, ge=1, description="longest prompt (tokens), without system message and template")
    example: int | None = Field(None, ge=1, description="longest prompt and reference together (tokens)")
    reasoning: bool = Field(False, description="count the reasoning that came with a reference, too")


class DuplicateSettings(Settings):
    """When two tasks count as one. See stages/cleaning/duplicates.py."""

    similarity: float = Field(0.85, gt=0, le=1, description="Jaccard similarity from which texts, and code, are alike")
    permutations: int = Field(64, ge=16, le=256, multiple_of=4, description="hash functions of a MinHash signature")


class ContaminationSettings(Settings):
    """What makes a training task count as a benchmark task's copy. See stages/cleaning/contamination.py."""

    words: int = Field(13, ge=4, description="length of a run of words that no training task may share (GPT-3: 13)")
    common: int = Field(
        10, ge=1, description="a run that more training problems than this share is a turn of phrase (GPT-3: 10)"
    )


class DataSettings(Settings):
    """How tasks are cleaned before they train anything."""

    lengths: LengthSettings = LengthSettings()
    duplicates: DuplicateSettings = DuplicateSettings()
    contamination: ContaminationSettings = ContaminationSettings()
