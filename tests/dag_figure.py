"""docs/graph.dot and docs/graph.svg: the graph of dvc.yaml, with one node for all items of a stage.

python -m tests.dag_figure            prints the folded graph
python -m tests.dag_figure --write    renews both files; the picture wants graphviz (apt-get install graphviz)

The arrows are those of `dvc dag`, asked of a copy in which every stage has an item. One that follows from others is
left out, one into the next cycle is dashed, and so is the border of a stage that has no item in params.yaml as shipped.
"""

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
TEXT = ROOT / "docs" / "graph.dot"
PICTURE = ROOT / "docs" / "graph.svg"
CYCLES = {
    "1": {"parent": "sft"},
    "2": {"parent": "cycle-1"},
}
OPTIONAL: dict[str, Any] = {"specs": {"python_testing": {}}, "controls": {"1": CYCLES["1"]}, "grpo": {"1": CYCLES["1"]}}
MODELS = ["base", "sft", "cycle-1", "cycle-2", "control-1", "grpo-1"]
ITEMS = {"cycles": "K", "controls": "K", "grpo": "RUN", "specs": "SPEC", "models": "MODEL", "": "SOURCE"}
# Colours that are readable on a white page and on a dark one.
HEAD = """digraph "halo-forge" {
  graph [bgcolor=transparent, fontname="Helvetica,Arial,sans-serif", fontsize=13, nodesep=0.3, ranksep=0.32];
  node [shape=box, style="rounded,filled", fillcolor="#dbe9f6", color="#5b7a99", fontcolor="#10202f",
        fontname="Helvetica,Arial,sans-serif", fontsize=13, height=0.36, margin="0.14,0.04"];
  edge [color="#7a8794", arrowsize=0.7];
"""
Edge = tuple[str, str]


def dag() -> set[Edge]:
    """The arrows between the items of all stages, by DVC."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params |= {"cycles": CYCLES, "models": MODELS, **OPTIONAL}
    dvc = [sys.executable, "-m", "dvc"]
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(ROOT / "dvc.yaml", folder)
        (Path(folder) / "params.yaml").write_text(yaml.safe_dump(params))
        subprocess.run([*dvc, "init", "--no-scm", "--quiet"], cwd=folder, check=True)
        done = subprocess.run([*dvc, "dag", "--dot"], cwd=folder, check=True, capture_output=True, text=True)
    return set(re.findall(r'^"([^"]+)" -> "([^"]+)";', done.stdout, re.MULTILINE))


def reach(start: str, edges: Iterable[Edge]) -> set[str]:
    """What is downstream of a node."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        at = waiting.pop()
        following = {target for source, target in edges if source == at} - found
        found |= following
        waiting += following
    return found


def reduced(edges: set[Edge], besides: frozenset[str] = frozenset()) -> set[Edge]:
    """Without the arrows that follow from others, those of some nodes apart; the graph has no circle."""
    certain = {edge for edge in edges if not besides & set(edge)}
    return {(a, b) for a, b in edges if b not in reach(a, (edges if {a, b} & besides else certain) - {(a, b)})}


def stage(item: str) -> str:
    """The stage of an item."""
    return item.partition("@")[0]


def folded(edges: set[Edge]) -> tuple[set[Edge], set[Edge]]:
    """The arrows between stages: those within a cycle or outside of cycles, and those into the next cycle."""
    cyclic = {name for name, section in sections().items() if section == "cycles"}
    optional = frozenset(name for name, section in sections().items() if section in OPTIONAL)
    here, onward = set(), set()
    for a, b in reduced(edges):
        both = {stage(a), stage(b)} <= cyclic and a.partition("@")[2] != b.partition("@")[2]
        (onward if both else here).add((stage(a), stage(b)))
    return reduced(here, optional), onward


def sections() -> dict[str, str | None]:
    """By stage, where its items are: a section of params.yaml, "" for dvc.yaml itself; None for a stage without."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    over = {name: definition.get("foreach") for name, definition in stages.items()}
    return {
        name: None if items is None else items[2:-1] if isinstance(items, str) else "" for name, items in over.items()
    }


def node(name: str, section: str | None) -> str:
    """A stage's line."""
    label = name if section is None else f"{name}@{ITEMS[section]}"
    border = ', style="rounded,filled,dashed", fillcolor="#f3f0e4", color="#b08d2f"' if section in OPTIONAL else ""
    return f'"{name}" [label="{label}"{border}];'


def text() -> str:
    """The folded graph in the language of graphviz."""
    here, onward = folded(dag())
    found = sections()
    lines = [f"  {node(name, section)}" for name, section in found.items() if section != "cycles"]
    lines += ['  subgraph "cluster_cycle" {', '    label="cycle K"; labeljust=l; style=rounded; color="#7a8794";']
    lines += ['    fontcolor="#7a8794";']
    lines += [f"    {node(name, section)}" for name, section in found.items() if section == "cycles"]
    lines += ["  }", *(f'  "{a}" -> "{b}";' for a, b in sorted(here))]
    lines += [f'  "{a}" -> "{b}" [style=dashed, constraint=false];' for a, b in sorted(onward)]
    return HEAD + "\n".join(lines) + "\n}\n"


def mark(graph: str) -> str:
    """What a picture says of the text that it was drawn from."""
    return f"<!-- docs/graph.dot {hashlib.sha256(graph.encode()).hexdigest()} -->\n"


def write(graph: str) -> None:
    """Renew text and picture; neither where the picture cannot be drawn."""
    if not shutil.which("dot"):
        sys.exit("error: dot not found; apt-get install graphviz")
    drawn = subprocess.run(["dot", "-Tsvg"], input=graph, check=True, capture_output=True, text=True).stdout
    TEXT.write_text(graph, encoding="utf-8")
    PICTURE.write_text(drawn + mark(graph), encoding="utf-8")


def main() -> None:
    """Print the graph, or write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        write(text())
    else:
        print(text(), end="")


if __name__ == "__main__":
    main()
