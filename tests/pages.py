"""What the tests of the pages share: which there are, their shell blocks, links and headings.

A block of kind `sh` is run by tests/test_doc_commands.py, unless the line above it says `<!-- not run: REASON -->`.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "toolbox" / "README.md", *(ROOT / "docs").glob("*.md")])
MARK = re.compile(r"<!-- not run:(.*)-->")


@dataclass(frozen=True)
class Block:
    """A shell block. `line` is that of its first command; `reason` says why it is not run, None where it is."""

    page: Path
    line: int
    text: str
    reason: str | None

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The shell blocks of a page, in its order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    found = []
    for number, line in enumerate(lines):
        if line == "```sh":
            mark = MARK.fullmatch(lines[number - 1].strip())
            text = "\n".join(lines[number + 1 : lines.index("```", number)])
            found.append(Block(page, number + 2, text, mark[1].strip() if mark else None))
    return found


def commands(text: str) -> list[str]:
    """The commands of a page's shell blocks, a line each, without comments."""
    found = "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)).replace("\\\n", " ")
    lines = [line.split("#")[0].strip() for line in found.splitlines()]
    return [line for line in lines if line]


def prose(text: str) -> str:
    """A page without its code, in which neither links nor headings are."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE))


def anchors(text: str) -> set[str]:
    """The fragments that GitHub gives a page's headings."""
    found: list[str] = []
    fenced = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    for heading in re.findall(r"^#+ +(.+?) *#*$", fenced, re.MULTILINE):
        bare = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        found.append(re.sub(r"[^\w\- ]", "", bare.lower()).replace(" ", "-"))
    return {f"{name}-{found[:at].count(name)}" if name in found[:at] else name for at, name in enumerate(found)}


def links(text: str) -> list[str]:
    """The targets of a page's links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(text))


def quoted(page: Path) -> list[str]:
    """The lines of a page's blocks of kind `text`: what this project prints."""
    blocks = re.findall(r"^```text\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines()]
