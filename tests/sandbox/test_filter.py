"""The system-call filter against the kernel's own list of numbers, and what it decides, call by call."""

import importlib.util
import re
import struct
from pathlib import Path
from types import ModuleType

import pytest

PATH = Path(__file__).parents[2] / "stages/sandbox/inside/seccomp.py"
# Where the headers of the kernel's interface lie: x86_64 has a list of its own, aarch64 the common one.
HEADERS = {
    0: ("/usr/include/asm/unistd_64.h", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    1: ("/usr/include/asm-generic/unistd.h",),
}
DEFINITION = re.compile(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)", re.MULTILINE)
ALLOWED, KILLED, DENIED, MISSING, NOTHING = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026, 0x00050000


@pytest.fixture(scope="module")
def seccomp() -> ModuleType:
    spec = importlib.util.spec_from_file_location("seccomp", PATH)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("column", [0, 1], ids=["x86_64", "aarch64"])
def test_numbers(seccomp: ModuleType, column: int) -> None:
    path = next((Path(path) for path in HEADERS[column] if Path(path).exists()), None)
    if path is None:
        pytest.skip(f"the kernel's list of calls is not installed: {HEADERS[column][0]}")
    known = {name: int(number) for name, number in DEFINITION.findall(path.read_text())}
    special = {"clone": seccomp.CLONE, "clone3": seccomp.CLONE3, "ioctl": seccomp.IOCTL}
    special |= {"personality": seccomp.PERSONALITY, "memfd_create": seccomp.MEMFD_CREATE}
    table = seccomp.DENIED | seccomp.SYNC | seccomp.BY_FIRST | seccomp.BY_SECOND | seccomp.SOCKETS | special
    compared = {name: (row[column], known[name]) for name, row in table.items() if name in known}
    assert len(compared) > 70
    assert {name: pair for name, pair in compared.items() if pair[0] != pair[1]} == {}
    assert max(known.values()) < seccomp.NEWER or known.get("setxattrat") == seccomp.NEWER


def test_no_call_stands_in_two_tables(seccomp: ModuleType) -> None:
    tables = (seccomp.DENIED, seccomp.SYNC, seccomp.BY_FIRST, seccomp.BY_SECOND, seccomp.SOCKETS)
    for column in (0, 1):
        numbers = [row[column] for table in tables for row in table.values() if row[column] is not None]
        assert len(numbers) == len(set(numbers))


def decide(filters: bytes, architecture: int, number: int, *arguments: int) -> int:
    """What the kernel's machine for such filters comes to: the few instructions that there are, one after the other."""
    data = struct.pack("=IIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    instructions = [struct.unpack_from("=HBBI", filters, at) for at in range(0, len(filters), 8)]
    held, at = 0, 0
    while True:
        code, true, false, value = instructions[at]
        at += 1
        if code == 0x20:
            (held,) = struct.unpack_from("=I", data, value)
        elif code == 0x06:
            return value
        else:
            holds = {0x15: held == value, 0x35: held >= value, 0x45: bool(held & value)}[code]
            at += true if holds else false


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_decisions(seccomp: ModuleType, machine: str) -> None:
    column, architecture = seccomp.MACHINES[machine]
    filters, of_jobs = seccomp.program(machine), seccomp.of_jobs(machine, trusted=True)

    def decided(row: tuple[int, int], *arguments: int) -> int:
        """By both filters together: the one that refuses decides."""
        return min(decide(each, architecture, row[column], *arguments) for each in (filters, of_jobs))

    for name in seccomp.OF_THE_ZYGOTE:
        assert decide(filters, architecture, seccomp.DENIED[name][column]) == ALLOWED
    assert decide(filters, architecture, seccomp.CLONE[column], 0x20000000 | 17) == ALLOWED
    for row in seccomp.DENIED.values():
        assert row[column] is None or decided(row) == DENIED
    assert decide(filters, 0x40000003, 1) == decide(filters, 0x40000028, 1) == KILLED  # i386, 32-bit ARM
    assert decide(filters, architecture, 463) == decided(seccomp.CLONE3) == MISSING
    assert [decided(row) for row in seccomp.SYNC.values()] == [NOTHING] * 2
    assert decided(seccomp.CLONE, 17) == ALLOWED
    for flag in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert decided(seccomp.CLONE, flag | 17) == DENIED
    for row in seccomp.SOCKETS.values():
        assert [decided(row, family, 1, 0) for family in (1, 2, 10, 16, 17, 30, 38, 40)] == [ALLOWED] * 3 + [DENIED] * 5
        assert [decided(row, 2, 1, protocol) for protocol in (6, 17, 132, 255)] == [ALLOWED] * 2 + [DENIED] * 2
    assert [decided(seccomp.IOCTL, 0, request) for request in (0x5412, 0x541C, 0x5413)] == [DENIED, DENIED, ALLOWED]
    assert [decided(seccomp.PERSONALITY, kind) for kind in (0xFFFFFFFF, 0x40000, 0x100000)] == [ALLOWED] * 2 + [DENIED]
    for row in seccomp.BY_FIRST.values():
        assert [decided(row, pid) for pid in (0, 1, 2)] == [ALLOWED, DENIED, ALLOWED]
    for row in seccomp.BY_SECOND.values():
        assert [decided(row, 0, pid) for pid in (0, 1, 2)] == [ALLOWED, DENIED, ALLOWED]
    assert decided((0x40000000 + 59, 221)) == (DENIED if machine == "x86_64" else ALLOWED)  # execve, the x32 one
    assert decided(seccomp.MEMFD_CREATE) == ALLOWED
    untrusted = seccomp.of_jobs(machine, trusted=False)
    assert decide(untrusted, architecture, seccomp.MEMFD_CREATE[column]) == MISSING
    assert decide(untrusted, architecture, seccomp.CLONE[column]) == ALLOWED
    for row in (*seccomp.BY_FIRST.values(), *seccomp.BY_SECOND.values()):  # process 1 may be the candidate itself
        assert decide(untrusted, architecture, row[column], 1, 1) == ALLOWED


def test_unknown_machine(seccomp: ModuleType) -> None:
    with pytest.raises(ValueError, match="no system-call filter for machine 'riscv64'; there are those for x86_64"):
        seccomp.program("riscv64")
