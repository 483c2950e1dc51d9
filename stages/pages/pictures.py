"""DVC's plots as SVG, in a light and a dark form, without network or browser."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from stages.common.errors import HaloForgeError

VEGA_LITE = "5.20"
# Room on the right: the renderer measures text with another font than the reader's, and a legend's end would be cut.
CONFIG = {"background": None, "view": {"stroke": None}, "padding": {"left": 5, "top": 5, "right": 25, "bottom": 5}}


@dataclass(frozen=True)
class Picture:
    """`title` says what it shows; `light` and `dark` are whole SVG documents."""

    title: str
    light: str
    dark: str


def pictures() -> list[Picture]:
    """What `dvc plots show` gives in the workspace. HaloForgeError where DVC fails."""
    command = [sys.executable, "-m", "dvc", "plots", "show", "--json"]
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise HaloForgeError(f"dvc plots show: {last}")
    data = json.loads(done.stdout).get("data") or {}
    shown = [plot for plots in data.values() for plot in plots if plot.get("type") == "vega" and plot.get("content")]
    return [_picture(plot["content"]) for plot in shown if _has_points(plot["content"])]


def _has_points(spec: dict[str, Any]) -> bool:
    return bool((spec.get("data") or {}).get("values"))


def _picture(spec: dict[str, Any]) -> Picture:
    import vl_convert

    title = spec.get("title") or ""
    title = title.get("text", "") if isinstance(title, dict) else title
    forms = [
        vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE, config=CONFIG, **theme)
        for theme in ({}, {"theme": "dark"})
    ]
    return Picture(str(title), *forms)
