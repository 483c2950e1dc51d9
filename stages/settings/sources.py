"""Settings of the task sources: the top-level section `sources` and one section per source in each profile."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from stages.common.params import Settings

BySteps = list[Annotated[int, Field(ge=0)]]


def _sizes(one: int, two: int, three: int, description: str) -> BySteps:
    return Field([one, two, three], min_length=3, max_length=3, description=description)


class HubSettings(Settings):
    """Where data sets are read from, for every profile."""

    hub: str | None = Field(
        None,
        min_length=1,
        description="directory laid out as on the Hugging Face hub (OWNER/NAME below it); null: the hub itself",
    )


class SyntheticSettings(Settings):
    """Procedural tasks. Each list counts the tasks of one, of two and of three steps."""

    demonstrations: BySteps = _sizes(100, 300, 200, "train tasks with a reference solution")
    prompts: BySteps = _sizes(0, 300, 300, "train tasks without a reference solution, learned from tests only")
    validation: BySteps = _sizes(0, 40, 40, "validation tasks")
    benchmark: BySteps = _sizes(0, 80, 80, "benchmark tasks; of two and three steps, half have an unseen pair of steps")
    check_references: bool = Field(True, description="verify every reference solution, drop tasks whose own fails")


class CheckedSettings(Settings):
    """What sources have in common that bring reference solutions."""

    check_references: bool = Field(True, description="verify every reference solution, drop tasks whose own fails")


class UntestedSettings(CheckedSettings):
    """Sources of which some tasks may have no tests."""

    keep_unverified: bool = Field(
        False, description="keep tasks without tests, too, where the reference compiles; they never pay more than 0.7"
    )
    validation: float = Field(0.0, ge=0, lt=1, description="share of the problems that go to validation")


class HumanEvalSettings(CheckedSettings):
    """HumanEval (Chen et al. 2021), 164 tasks."""

    revision: str = Field(
        "7dce6050a7d6d172f3cc5c32aa97f52fa1a2e544", description="commit of openai/openai_humaneval on the hub"
    )
    split: str = Field("benchmark", description="always 'benchmark': HumanEval is never trained on")
    limit: int | None = Field(None, ge=1, description="use the first N tasks; null: all")

    @field_validator("split")
    @classmethod
    def _only_benchmark(cls, value: str) -> str:
        if value != "benchmark":
            raise ValueError("HumanEval is a benchmark and never trained on; expected 'benchmark'")
        return value


class MbppSettings(CheckedSettings):
    """MBPP (Austin et al. 2021): its train, validation and test splits, the last as benchmark."""

    revision: str = Field(
        "4bb6404fdc6cacfda99d4ac4205087b89d32030c", description="commit of google-research-datasets/mbpp on the hub"
    )
    config: Literal["full", "sanitized"] = Field("full", description="974 tasks, or the 427 checked by hand")
    tests_in_prompt: bool = Field(
        True, description="show the assertions in the prompt, as the paper does; without them names are a guess"
    )
    challenge_tests: bool = Field(True, description="judge by the challenge assertions too (config full has some)")
    few_shot: bool = Field(False, description="add the split 'prompt' (few-shot examples) to the train tasks")
    limit: int | None = Field(None, ge=1, description="use the first N tasks of each split; null: all")


class CodeforcesSettings(UntestedSettings):
    """Programs for problems of Codeforces, written by DeepSeek-R1 (open-r1/codeforces-cots)."""

    revision: str | None = Field(None, min_length=1, description="commit of the data set on the hub; needed there")
    size: int | None = Field(4000, ge=1, description="keep at most this many tasks; null: all")
    per_problem: int | None = Field(None, ge=1, description="use the first N programs of a problem; null: all")
    benchmark: float = Field(0.0, ge=0, lt=1, description="share of the problems that go to the benchmark")
    validation: float = Field(0.02, ge=0, lt=1, description="share of the problems that go to validation")


class CodeforcesCppSettings(CodeforcesSettings):
    """The C++ programs: config `solutions`."""


class CodeforcesPythonSettings(CodeforcesSettings):
    """The Python programs: config `solutions_py`."""

    size: int | None = Field(1000, ge=1, description="keep at most this many tasks; null: all")


class HumanEvalCppSettings(CheckedSettings):
    """HumanEval-X C++ (Zheng et al. 2023), 164 tasks. Benchmark only."""

    path: str | None = Field(
        None, min_length=1, description="file of the tasks (.parquet, .jsonl or .jsonl.gz); DVC watches data/own"
    )
    revision: str | None = Field(
        None, min_length=1, description="commit of THUDM/humaneval-x on the hub, where there is no path"
    )
    split: str = Field("benchmark", description="always 'benchmark': HumanEval-X is never trained on")
    verifier: Literal["gcc", "clang", "mingw", "msvc_ssh"] = Field("gcc", description="what judges the tasks")
    limit: int | None = Field(None, ge=1, description="use the first N tasks; null: all")

    @field_validator("split")
    @classmethod
    def _only_benchmark(cls, value: str) -> str:
        if value != "benchmark":
            raise ValueError("HumanEval-X is a benchmark and never trained on; expected 'benchmark'")
        return value


class JsonlSettings(UntestedSettings):
    """Task files of one's own, in the record format. DVC watches data/own, so they lie there."""

    train: tuple[str, ...] = Field((), strict=False, description="files of training tasks, below data/own")
    validation_files: tuple[str, ...] = Field((), strict=False, description="files of validation tasks")
    benchmark: tuple[str, ...] = Field((), strict=False, description="files of benchmark tasks")
