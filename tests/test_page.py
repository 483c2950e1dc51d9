"""The report as a page: opened in Chromium, clicked through, on a phone and in the dark; and as Markdown."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stages.common import records
from stages.common.records import Sample, Task, Verdict
from stages.pages.tasks import LONGEST, encoded, outcomes
from tests.conftest import ROOT, Run
from tests.test_report import MODELS, metrics  # noqa: F401 - a fixture

HOSTILE = (
    "</script><script>document.title = 'forged'</script><img src=x onerror=\"document.title='forged'\"><!-- \u2028"
)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PHONE = {"width": 375, "height": 700}


def write_data(folder: Path, tasks: int = 60) -> None:
    """Held-out tasks, of which later checkpoints solve more, and one whose answers are hostile to a page."""
    held_out = [
        Task(
            task_id=f"t/{number}",
            language="python",
            prompt=f"Write f{number}(x)." if number else HOSTILE,
            verifier="pytest",
            entry_point=f"f{number}",
            tests=f"assert f{number}(1) == {number}",
            cases=[],
        )
        for number in range(tasks)
    ]
    records.write(folder / "data/mix/benchmark.jsonl", held_out)
    for place, model in enumerate(MODELS):
        samples, verdicts = [], []
        for number, task in enumerate(held_out):
            for n in range(4):
                passed = number % 5 < place
                text = f"def f{number}(x):\n    return {n % 2}" if number else HOSTILE
                samples.append(Sample(task.task_id, n, text))
                detail = "" if passed else f"assert f{number}(1) == {number}: wrong"
                reward, level = (1.0, "pass") if passed else (0.7, "wrong_answer")
                verdicts.append(Verdict(task.task_id, n, reward, level, detail, int(passed), 1))
        records.write(folder / f"data/benchmark/{model}/samples.jsonl", samples)
        records.write(folder / f"data/benchmark/{model}/verdicts.jsonl", verdicts)


@pytest.fixture
def project(metrics: Path, stage: Run) -> Path:  # noqa: F811
    """A DVC project of its own with a finished run's metrics and data."""
    folder = metrics.parent
    for command in ("git init -q", "dvc init -q"):
        subprocess.run(command.split(), cwd=folder, check=True)
    shutil.copy(ROOT / "dvc.yaml", folder)
    shutil.copytree(ROOT / ".dvc/plots", folder / ".dvc/plots", dirs_exist_ok=True)
    stage("report", "--metrics", "metrics", "--out", "metrics/report")
    write_data(folder)
    return folder


@pytest.fixture
def browser() -> Iterator[Any]:
    """Chromium, without a window."""
    if CHROMIUM is None:
        pytest.skip("no chromium on the PATH; install it: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


def test_a_reader_clicks_through_the_page(project: Path, stage: Run, browser: Any) -> None:
    stage("page")
    page = browser.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((project / "build/report/index.html").as_uri())
    assert page.title() == "halo-forge: tiny"
    assert page.locator("figure img").count() >= 5
    widths = page.locator("figure img").evaluate_all("images => images.map(image => image.naturalWidth)")
    assert min(widths) > 100, "a picture did not load"
    assert page.locator("#count").inner_text() == "60 of 60 tasks"
    assert page.locator(".task").count() == 50
    page.click("#more")
    assert page.locator(".task").count() == 60
    page.fill("#query", "write F17(")
    assert page.locator("#count").inner_text() == "1 of 60 tasks"
    page.click(".task summary")
    page.locator(".task pre").first.wait_for()  # it is filled once it is open
    opened = page.locator(".task").inner_text()
    for part in (
        "base: 0 of 4 pass",
        "cycle-3: 4 of 4 pass",
        "1 pass, 2 times",
        "0.7 wrong_answer, 2 times",
        "return 1",
    ):
        assert part in opened
    assert "assert f17(1) == 17" in opened
    page.fill("#query", "")
    page.select_option("#left", "cycle-2")
    page.select_option("#filter", "won")
    assert page.locator("#count").inner_text() == "12 of 60 tasks"
    page.select_option("#filter", "lost")
    assert page.locator("#count").inner_text() == "0 of 60 tasks"
    page.select_option("#filter", "all")
    page.click(".task summary >> nth=0")
    assert page.locator(".task pre").first.inner_text().startswith("</script><script>document.title")
    assert page.title() == "halo-forge: tiny"
    page.locator("details:has(table.settings) summary").click()
    assert page.locator("table.settings").get_by_text("profiles.tiny.sft.train.epochs").first.is_visible()
    assert said == []
    assert [address for address in asked if not address.startswith(("file:", "data:"))] == []


def test_on_a_phone_and_in_the_dark(project: Path, stage: Run, browser: Any) -> None:
    stage("page")
    inks = []
    for scheme in ("light", "dark"):
        page = browser.new_context(viewport=PHONE, color_scheme=scheme).new_page()
        page.goto((project / "build/report/index.html").as_uri())
        page.click(".task summary >> nth=3")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        style = "getComputedStyle(document.body)"
        inks.append([_light(page.evaluate(f"{style}.{name}")) for name in ("color", "backgroundColor")])
        used = page.locator("figure img").first.evaluate("image => image.currentSrc")
        inks[-1].append(used)
    (ink, paper, picture), (ink_dark, paper_dark, picture_dark) = inks
    assert paper - ink > 150 and ink_dark - paper_dark > 150
    assert picture != picture_dark


def _light(color: str) -> float:
    return sum(map(float, re.findall(r"\d+", color)[:3])) / 3


def test_the_same_as_markdown(project: Path, stage: Run) -> None:
    stage("page", "--markdown", "report.md")
    text = (project / "report.md").read_text()
    assert "| cycle-3 | 0.400 | 0.000 - 0.500 | 0.600 | 0.100 - 0.900 |" in text
    page = (project / "build/report/index.html").read_text()
    for title in re.findall("^## (.*)$", text, re.MULTILINE):
        assert f"<h2>{title}</h2>" in page
    assert "`" not in text and "<script" not in text


def test_a_lone_surrogate_in_an_answer_can_be_written() -> None:
    """A server's JSON may hold one, and UTF-8 may not."""
    text = encoded(["x = '\ud800'", "é<"])
    text.encode()
    assert json.loads(text) == ["x = '\ud800'", "é<"] and "<" not in text


def test_answers_of_a_task(tmp_path: Path) -> None:
    """A passed one first, then the commonest; what is long is cut."""
    answers = ["a", "a", "b", "x" * (LONGEST + 1), "good"]
    records.write(tmp_path / "s.jsonl", [Sample("t", n, text) for n, text in enumerate(answers)])
    rewards = [(float(text == "good"), "pass" if text == "good" else "compile_error") for text in answers]
    records.write(tmp_path / "v.jsonl", [Verdict("t", n, *r, "", 0, 1) for n, r in enumerate(rewards)])
    [[task_id, drawn, passed, shown]] = outcomes(tmp_path / "s.jsonl", tmp_path / "v.jsonl", 3)
    assert (task_id, drawn, passed) == ("t", 5, 1)
    assert [answer[0] for answer in shown[:2]] == ["good", "a"]
    assert [answer[4] for answer in shown] == [1, 2, 1]
    [[_, _, _, every]] = outcomes(tmp_path / "s.jsonl", tmp_path / "v.jsonl", 9)
    assert every[3][0] == "x" * LONGEST + "\n[1 more characters]"


def test_what_is_missing_or_of_an_older_format(project: Path, stage: Run) -> None:
    path = project / "metrics/benchmark/sft.json"
    whole = path.read_text()
    path.write_text(json.dumps({"accuracy": 0.5}))
    for name in ("page", "report"):
        flags = () if name == "page" else ("--metrics", "metrics", "--out", "out")
        said = stage(name, *flags, code=1).stderr
        assert said.startswith("error: metrics/benchmark/sft.json: found accuracy, expected 'pass@1")
    path.write_text(whole)
    verdicts = project / "data/benchmark/sft/verdicts.jsonl"
    lines = verdicts.read_text().splitlines(keepends=True)
    verdicts.write_text("".join(lines[:-1]))
    assert f":{len(lines)}: found none, expected one of t/59 sample 3" in stage("page", code=1).stderr
    verdicts.unlink()
    assert "data/benchmark/sft/verdicts.jsonl: no such file; make it by `dvc repro`" in stage("page", code=1).stderr
    assert not (project / "build/report/index.html").exists()
