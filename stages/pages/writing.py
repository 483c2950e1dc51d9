"""Writing the page and the Markdown."""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import IO

from stages.common.files import replacing
from stages.pages.overview import Section
from stages.pages.pictures import Picture
from stages.pages.tasks import outcomes, tasks, write_array

HERE = Path(__file__).parent
SEARCH = """<section id="samples"><h2>Tasks, samples and verdicts</h2>
<div class="search">
<input id="query" type="search" placeholder="Search ids, prompts, answers, verdicts" aria-label="Search">
<label>from <select id="left"></select></label> <label>to <select id="right"></select></label>
<select id="filter" aria-label="Which tasks"><option value="all">all tasks</option>
<option value="won">won: half of the samples pass only after</option>
<option value="lost">lost: half of the samples pass only before</option>
<option value="solved">some sample passes after</option>
<option value="unsolved">no sample passes after</option></select>
</div><p id="count" class="count" aria-live="polite"></p><div id="list"></div>
<button id="more" type="button">Show more</button></section>"""
ABOVE = 2  # tables above the pictures: what was run, and what it came to
CLASSES = {"Run": "facts", "Parameters": "settings"}


def write_page(
    path: Path,
    title: str,
    sections: list[Section],
    pictures: list[Picture],
    task_file: Path,
    judged: Mapping[str, tuple[Path, Path]],
    kept: int,
) -> None:
    """Write the HTML file. `judged`: samples and verdicts by checkpoint.

    Its policy lets nothing be loaded, and no script run but its own, whatever a model has written.
    """
    script, style = ((HERE / name).read_text(encoding="utf-8") for name in ("page.js", "page.css"))
    policy = f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}"
    with replacing(path) as file:
        file.write('<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n')
        file.write(f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n')
        file.write('<meta name="viewport" content="width=device-width, initial-scale=1">\n')
        file.write('<link rel="icon" href="data:,">\n')
        file.write(f"<title>{escape(title)}</title>\n<style>{style}</style></head><body>\n<h1>{escape(title)}</h1>\n")
        links = {"pictures": "Pictures", "samples": "Tasks"} if judged else {"pictures": "Pictures"}
        file.write("<nav>" + "".join(f'<a href="#{at}">{name}</a>' for at, name in links.items()) + "</nav>\n")
        open_ones = [section for section in sections if not section.folded]
        file.writelines(_section(section) for section in open_ones[:ABOVE])
        file.write('<section id="pictures"><h2>Pictures</h2><div class="pictures">\n')
        file.writelines(_figure(picture) for picture in pictures)
        file.write("</div></section>\n")
        file.writelines(_section(section) for section in open_ones[ABOVE:])
        if judged:
            file.write(SEARCH)
        file.writelines(_section(section) for section in sections if section.folded)
        if judged:
            _write_data(file, task_file, judged, kept)
            file.write(f"<script>{script}</script>\n")
        file.write("</body></html>\n")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _write_data(file: IO[str], task_file: Path, judged: Mapping[str, tuple[Path, Path]], kept: int) -> None:
    file.write('<script type="application/json" id="tasks">')
    write_array(file, tasks(task_file))
    file.write("</script>\n")
    for model, (samples, verdicts) in judged.items():
        file.write(f'<script type="application/json" class="outcomes" data-model="{escape(model)}">')
        write_array(file, outcomes(samples, verdicts, kept))
        file.write("</script>\n")


def _section(section: Section) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in section.header)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>\n" for row in section.rows)
    head = f"<thead><tr>{head}</tr></thead>" if any(section.header) else ""
    name = CLASSES.get(section.title, "")
    table = f'<div class="wide"><table class="{name}">{head}<tbody>\n{body}</tbody></table></div>'
    if section.folded:
        table = f"<details><summary>{len(section.rows)} rows</summary>{table}</details>"
    note = f'<p class="note">{escape(section.note)}</p>' if section.note else ""
    return f"<section><h2>{escape(section.title)}</h2>{note}{table}</section>\n"


def _figure(picture: Picture) -> str:
    light, dark = (base64.b64encode(form.encode()).decode() for form in (picture.light, picture.dark))
    address = "data:image/svg+xml;base64,"
    return (
        f'<figure><picture><source media="(prefers-color-scheme: dark)" srcset="{address}{dark}">'
        f'<img src="{address}{light}" alt="{escape(picture.title)}"></picture></figure>\n'
    )


def write_markdown(path: Path, title: str, sections: list[Section]) -> None:
    """Write the same tables for a pull request."""
    with replacing(path) as file:
        file.write(f"# {title}\n")
        for section in sections:
            file.write("\n".join(_markdown(section)) + "\n")


def _markdown(section: Section) -> Iterator[str]:
    yield f"\n## {section.title}\n"
    if section.note:
        yield f"{section.note}\n"
    if section.folded:
        yield f"<details><summary>{len(section.rows)} rows</summary>\n"
    yield _line(section.header)
    yield "|" + " --- |" * len(section.header)
    yield from map(_line, section.rows)
    if section.folded:
        yield "\n</details>"


def _line(cells: list[str]) -> str:
    # A cell must not end the table, begin one of its own, or be markup.
    clean = (escape(" ".join(cell.split()), quote=False).replace("\\", "\\\\").replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(clean)} |"
