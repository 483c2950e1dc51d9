"""Energy that the machine used, where the kernel counts it: RAPL domains of the processor, and amdgpu's power sensor.

powercap: https://docs.kernel.org/power/powercap/powercap.html (energy_uj counts microjoules and wraps around behind
max_energy_range_uj); hwmon: https://docs.kernel.org/hwmon/sysfs-interface.html (energyN_input in microjoules,
powerN_average and powerN_input in microwatts).
"""

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

SYS = Path("/sys/class")
SECONDS_BETWEEN_READINGS = 1.0
MICRO = 1e-6


def _number(path: Path) -> int | None:
    """The integer in a file; None where it is not there, closed to this user, or no integer."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


class Energy:
    """Joules used in a `with` block, by source; sources that this machine lacks are left out.

    Counters are read at both ends. A sensor that tells only power is read once a second, and its mean is multiplied by
    the time. A package's energy has that of its cores in it, so packages alone are counted.
    """

    def __init__(self, root: Path = SYS) -> None:
        packages = [p for p in sorted(root.glob("powercap/intel-rapl:*")) if p.name.count(":") == 1]
        sensors = [p for p in sorted(root.glob("hwmon/hwmon*")) if _text(p / "name") == "amdgpu"]
        self._counters: dict[str, tuple[Path, int | None]] = {
            _text(p / "name") or p.name: (p / "energy_uj", _number(p / "max_energy_range_uj")) for p in packages
        }
        self._power: dict[str, Path] = {}
        for sensor in sensors:
            name = f"amdgpu {sensor.name}" if len(sensors) > 1 else "amdgpu"
            power = [file for file in (sensor / "power1_average", sensor / "power1_input") if _number(file) is not None]
            if _number(sensor / "energy1_input") is not None:
                self._counters[name] = (sensor / "energy1_input", None)
            elif power:
                self._power[name] = power[0]
        self.joules: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._before = {name: _number(file) for name, (file, _) in self._counters.items()}
        self._readings: dict[str, list[int]] = {name: [] for name in self._power}
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True) if self._power else None
        if self._watcher:
            self._watcher.start()
        return self

    def _watch(self) -> None:
        while True:
            for name, file in self._power.items():
                if (microwatts := _number(file)) is not None:
                    self._readings[name].append(microwatts)
            if self._done.wait(SECONDS_BETWEEN_READINGS):
                return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._done.set()
        if self._watcher:
            self._watcher.join()
        seconds = time.monotonic() - self._started
        for name, (file, most) in self._counters.items():
            before, after = self._before[name], _number(file)
            if before is None or after is None:
                continue
            used = after - before + (most or 0 if after < before else 0)
            self.joules[name] = round(used * MICRO, 3)
        for name, readings in self._readings.items():
            if readings:
                self.joules[name] = round(sum(readings) / len(readings) * MICRO * seconds, 3)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
