"""What runs in this project: each stage with its progress, rate, time left and pass rate so far; load and memory.

python -m stages.watch
python -m stages.watch --once

Reads /proc, sysfs (https://docs.kernel.org/gpu/amdgpu/driver-misc.html and thermal.html: gpu_busy_percent, mem_info_*)
and what stages keep of their progress; it changes nothing and may begin and end at any time.
"""

import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from stages.common.cli import run
from stages.common.errors import InputError
from stages.common.json_reader import read_map
from stages.common.params import argument_parser
from stages.common.progress import STATES, duration, process_field, start_ticks

SECONDS_BETWEEN_LOOKS = 1.0
OWN = ("watch", "doctor", "plan")
LOG_WIDTH = 140  # columns, where there is no terminal
GIB = 2**30


@dataclass(frozen=True)
class Running:
    """A process of a stage; `state` is what it keeps of its progress, {} where it has none yet."""

    name: str
    pid: int
    state: dict


def running(root: Path, project: Path) -> Iterator[Running]:
    """The stages' processes in `project`, by pid; several where a stage is launched in several."""
    for folder in sorted((p for p in (root / "proc").glob("[0-9]*")), key=lambda path: int(path.name)):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if (folder / "cwd").resolve() != project.resolve():
                continue
        except OSError:  # it has ended since, or is another user's
            continue
        name = _stage(words)
        if name and name not in OWN and name != _parent_stage(root, folder):  # a worker that the stage forked
            state = _state(project / STATES / f"{folder.name}.json")
            # A killed run leaves its state behind, and another process may get its pid.
            own = state.get("process_started") == start_ticks(folder)
            yield Running(name, int(folder.name), state if own else {})


def _stage(words: list[str]) -> str | None:
    """`verify-cycle-1` for `python -m stages.verify ... --timing metrics/timing/verify-cycle-1.json`."""
    if not Path(words[0]).name.startswith("python"):  # `timeout 60 python -m ...` is no stage
        return None
    modules = [after for word, after in pairwise(words) if word == "-m"]
    if not modules or not modules[0].startswith("stages."):
        return None
    timing = [after for word, after in pairwise(words) if word == "--timing"]
    return Path(timing[0]).stem if timing else modules[0].removeprefix("stages.")


def _parent_stage(root: Path, folder: Path) -> str | None:
    try:
        parent = str(process_field(folder, 4))
        return _stage((root / "proc" / parent / "cmdline").read_bytes().decode(errors="replace").split("\0"))
    except OSError:
        return None


def _state(path: Path) -> dict:
    try:
        return read_map(path)
    except (OSError, InputError):
        return {}


def stages(found: list[Running]) -> Table | Text:
    """A line per stage; its own words where it has no progress to tell, as while a model is loaded."""
    if not found:
        return Text("no stage is running in this project")
    table = Table("stage", "doing", "done", "rate", "spent", "left", box=SIMPLE)
    for each in found:
        state = each.state
        if not state:
            table.add_row(each.name, f"starting or ending (pid {each.pid})", "", "", "", "")
            continue
        total = f" / {state['total']:,}" if state["total"] is not None else ""
        left = "" if state["left"] is None else duration(state["left"])
        done = f"{state['done']:,}{total} {state['unit']}"
        table.add_row(each.name, state["label"], done, state["note"], duration(state["spent"]), left)
    return table


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def accelerators(root: Path) -> Iterator[str]:
    """A line per card that the amdgpu driver tells of: load, and memory in use, of the card's own and of the host's."""
    for card in sorted((root / "sys/class/drm").glob("card[0-9]*")):
        if re.fullmatch(r"card\d+", card.name) is None:
            continue
        parts = []
        busy = _number(card / "device/gpu_busy_percent")
        if busy is not None:
            parts.append(f"load {busy} %")
        for kind in ("vram", "gtt"):
            used, total = (_number(card / f"device/mem_info_{kind}_{end}") for end in ("used", "total"))
            if used is not None and total:
                parts.append(f"{kind.upper()} {used / GIB:.1f} of {total / GIB:.1f} GiB")
        if parts:
            yield f"{card.name}: {', '.join(parts)}"


def machine(root: Path) -> Text:
    """The accelerators, or that sysfs has none, and the processor's load and the memory in use."""
    lines = list(accelerators(root)) or ["accelerator: none that sysfs tells of"]
    load = (root / "proc/loadavg").read_text(encoding="ascii").split()[0]
    fields = dict(re.findall(r"^(\w+):\s+(\d+) kB$", (root / "proc/meminfo").read_text(encoding="ascii"), re.MULTILINE))
    total, free = (int(fields[name]) * 1024 / GIB for name in ("MemTotal", "MemAvailable"))
    lines.append(f"processor: load {load} on {os.cpu_count()} cores; memory {total - free:.1f} of {total:.1f} GiB")
    return Text("\n".join(lines))


def look(root: Path, project: Path) -> Group:
    """All of it, as it is now."""
    return Group(stages(list(running(root, project))), machine(root))


def main() -> None:
    """Show until Ctrl-C."""
    parser = argument_parser(__doc__)
    parser.add_argument("--once", action="store_true", help="print it once")
    parser.add_argument("--root", type=Path, default=Path("/"), help="where proc and sys are (default: /)")
    args = parser.parse_args()
    project = Path.cwd()
    if args.once:
        Console(width=None if sys.stdout.isatty() else LOG_WIDTH).print(look(args.root, project))
        return
    try:
        with Live(look(args.root, project), refresh_per_second=2, screen=False) as live:
            while True:
                time.sleep(SECONDS_BETWEEN_LOOKS)
                live.update(look(args.root, project))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    run(main)
