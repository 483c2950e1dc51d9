"""Item 2: the GPU's firmware, from the running driver where root asks, else from the package that brings it."""

import re
import shutil
import subprocess
from pathlib import Path

from toolbox.checks.box import Box
from toolbox.checks.results import Result, cause, text

BAD_MES, BAD_DATE = 0x83, "20251125"  # https://github.com/ROCm/ROCm/issues/5724
BAD_PAIR = ((7, 2), "20260810")  # one report: this kernel with this firmware; 20260622 is good
PACKAGES = ("amd-gpu-firmware", "linux-firmware-amdgpu", "linux-firmware")  # the first that is there brings it
SIGHT = "sudo cat /sys/kernel/debug/dri/*/amdgpu_firmware_info | grep MES"
EXPECTED = f"not linux-firmware {BAD_DATE}, whose MES {BAD_MES:#x} hangs the GPU (ROCm issue 5724)"
REMEDY = "install another linux-firmware (20260622 is reported good), rebuild the initramfs, restart"


def check_firmware(box: Box) -> Result:
    """The scheduler's firmware (MES) as the driver has loaded it decides; without root, the package's date."""
    mes, package = loaded_mes(box.root), installed(box)
    if mes is None and package is None:
        where = "in a container the host's packages are out of sight" if box.in_container else "no package tells it"
        return Result(
            2, "firmware", "skipped", f"debugfs is root's, and {where}", EXPECTED, f"see for yourself: {SIGHT}"
        )
    told = [f"MES {mes:#x}" if mes is not None else "", f"package {package}" if package else ""]
    found = ", ".join(filter(None, told))
    date = dated(package)
    # What runs counts: a package may be newer than what was loaded at the start, and distributions mend single files.
    if mes == BAD_MES or (mes is None and date == BAD_DATE):
        return Result(2, "firmware", "fail", found, EXPECTED, REMEDY)
    kernel = re.match(r"(\d+)\.(\d+)", box.release)
    if kernel and (tuple(map(int, kernel.groups())), date) == BAD_PAIR:
        pair = "another pair: one report is against kernel 7.2 with firmware 20260810"
        return Result(
            2, "firmware", "warning", f"{found}, kernel {box.release}", pair, "if it hangs: firmware 20260622"
        )
    if mes is None and not date:
        return Result(2, "firmware", "skipped", f"{found} has no date", EXPECTED, f"see for yourself: {SIGHT}")
    return Result(2, "firmware", "pass", found, EXPECTED)


def loaded_mes(root: Path) -> int | None:
    """The version of the MES that runs, by debugfs; None where it cannot be read."""
    for file in _listed(root / "sys/kernel/debug/dri"):
        found = re.search(r"^MES feature version: \d+, firmware version: 0x([0-9a-f]+)", text(file) or "", re.MULTILINE)
        if found and (version := int(found[1], 16)):
            return version & 0xFFF  # the bits above hold the versions of its interface
    return None


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.glob("*/amdgpu_firmware_info"))
    except OSError:
        return []


def installed(box: Box) -> str | None:
    """Name and version of the host's firmware package; None where no package manager of it is in sight."""
    host = box.root / "run/host"  # where toolbx shows it
    root = host if (host / "usr").is_dir() else box.root
    if root == box.root and box.in_container:
        return None
    known = {**_dpkg(root), **_pacman(root), **_rpm(root)}
    return next((f"{name} {known[name]}" for name in PACKAGES if name in known), None)


def dated(package: str | None) -> str:
    """The eight digits of a version that are a date; empty where there are none."""
    found = re.search(r"\b(20\d{6})(?!\d)", package or "")
    return found[1] if found else ""


def _dpkg(root: Path) -> dict[str, str]:
    paragraphs = (text(root / "var/lib/dpkg/status") or "").split("\n\n")
    fields = [dict(re.findall(r"^(Package|Status|Version): (.*)$", part, re.MULTILINE)) for part in paragraphs]
    return {
        f["Package"]: f.get("Version", "")
        for f in fields
        if "Package" in f and f.get("Status", "").endswith(" installed")
    }


def _pacman(root: Path) -> dict[str, str]:
    folders = [folder.name.rsplit("-", 2) for folder in (root / "var/lib/pacman/local").glob("linux-firmware*")]
    return {parts[0]: "-".join(parts[1:]) for parts in folders if len(parts) == 3}


def _rpm(root: Path) -> dict[str, str]:
    """By the program, for the database is in a format of its own. Where it tells nothing, nothing is known."""
    places = [root / name for name in ("usr/lib/sysimage/rpm", "var/lib/rpm")]
    place = next((place for place in places if place.is_dir()), None)
    if place is None or not shutil.which("rpm"):
        return {}
    asked = ["rpm", "--dbpath", str(place.absolute()), "-q", "--qf", "%{NAME} %{VERSION}-%{RELEASE}\\n", *PACKAGES]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"rpm: {cause(error)}", flush=True)
        return {}
    return {parts[0]: parts[1] for line in done.stdout.splitlines() if len(parts := line.split()) == 2}
