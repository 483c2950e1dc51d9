"""The programs that verifying is measured on: published solutions from a mirror of the hub, or generated ones."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet

from stages import sources
from stages.common import records
from stages.common.records import Sample, Task
from stages.settings.sources import HumanEvalSettings
from stages.sources import humaneval

CPP_FILE = "humaneval_x_cpp.parquet"
PYTHON_PROMPT = 'def f{n}(xs):\n    """Add {n} to each number."""\n'
PYTHON_BODIES = (
    "    return [x + {n} for x in xs]\n",
    "    out = []\n    for x in xs:\n        out.append(x + {n})\n    return out\n",
    "    return [x - {n} for x in xs]\n",
    "    import math\n    return [math.floor(x) + {n} for x in xs]\n",
    "    return [x + y for x in xs]\n",
    "    return [x +\n",
)
PYTHON_TEST = """\
def check(candidate):
    assert candidate([]) == []
    assert candidate([1]) == [{n} + 1]
    assert candidate([3, 1]) == [{n} + 3, {n} + 1]
"""
CPP_PROMPT = "#include <bits/stdc++.h>\nusing namespace std;\nvector<int> f(vector<int> xs) {{\n"
CPP_BODIES = ("    for (int &x : xs) x += {n};\n    return xs;\n}}\n", "    xs.push_back({n});\n    return xs;\n}}\n")
CPP_TEST = """\
#undef NDEBUG
#include <cassert>
int main() {{
    assert(f({{}}) == vector<int>({{}}));
    assert(f({{3, 1}}) == vector<int>({{{n} + 3, {n} + 1}}));
}}
"""


@dataclass(frozen=True)
class Programs:
    """`rows` in HumanEval's shape, each a program with its test, and where they come from."""

    name: str
    language: str
    rows: list[dict[str, str]]

    def task(self, row: dict[str, str]) -> Task:
        """The row as a task of ours."""
        if self.language == "python":
            return humaneval.task(row)
        return Task(row["task_id"], "cpp", row["prompt"], "gcc", None, row["test"], [])

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Files of tasks and samples, as the verify stage takes them."""
        tasks, samples = folder / "tasks.jsonl", folder / "samples.jsonl"
        records.write(tasks, (self.task(row) for row in self.rows))
        whole = (Sample(row["task_id"], 0, row["prompt"] + row["canonical_solution"]) for row in self.rows)
        records.write(samples, whole)
        return tasks, samples

    def first(self) -> "Programs":
        """The first program alone."""
        return Programs(self.name, self.language, self.rows[:1])


def generated(language: str, count: int) -> Programs:
    """`count` different small programs: right, wrong and, in Python, some that crash and some that do not parse."""
    python = language == "python"
    prompt, bodies, test = (PYTHON_PROMPT, PYTHON_BODIES, PYTHON_TEST) if python else (CPP_PROMPT, CPP_BODIES, CPP_TEST)
    rows = [
        {
            "task_id": f"generated/{n}",
            "prompt": prompt.format(n=n),
            "canonical_solution": bodies[n % len(bodies)].format(n=n),
            "test": test.format(n=n),
            "entry_point": f"f{n}",
        }
        for n in range(count)
    ]
    return Programs(f"generated {'Python' if python else 'C++'}", language, rows)


def published(hub: Path, limit: int | None) -> tuple[Programs, Programs]:
    """HumanEval and HumanEval-X C++ with their canonical solutions, from a folder laid out as the hub."""
    tasks = sources.load("humaneval", HumanEvalSettings(limit=limit), str(hub), 0)["benchmark"]
    python = [
        {
            "task_id": task.task_id,
            "prompt": task.prompt,
            "canonical_solution": (task.reference or "").removeprefix(task.prompt),
            "test": task.tests.rsplit("\ncheck(", 1)[0],
            "entry_point": task.entry_point or "",
        }
        for task in tasks
    ]
    fields = ["task_id", "prompt", "canonical_solution", "test"]
    cpp = pyarrow.parquet.read_table(hub / CPP_FILE, columns=fields).slice(0, limit).to_pylist()
    return Programs("HumanEval", "python", python), Programs("HumanEval-X C++", "cpp", cpp)


def repeated(programs: Programs, times: int) -> Programs:
    """Each program `times` times, with a comment that makes the text another and a task of its own."""
    mark = "#" if programs.language == "python" else "//"
    rows = [_variant(row, mark, n) for row in programs.rows for n in range(times)] if times > 1 else programs.rows
    return Programs(programs.name, programs.language, rows)


def _variant(row: dict[str, str], mark: str, number: int) -> dict[str, str]:
    solution = f"{row['canonical_solution']}\n{mark} {number}\n"
    return {**row, "task_id": f"{row['task_id']}#{number}", "canonical_solution": solution}
