"""Output paths that are no file to replace: devices, pipes, sockets, descriptors, links, directories."""

import os
import pty
import shlex
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stages.common import records
from stages.common.errors import InputError
from stages.common.files import replacing, replacing_directory, write_json
from stages.common.outputs import beside, descriptor_of, is_stream, partial_of, target_of, work_directory
from stages.common.records import Sample, Verdict
from tests.conftest import ROOT, Run, make_task

WRITE = """
import sys
from stages.common.cli import run
from stages.common.files import write_json
run(lambda: write_json(sys.argv[1], ["x" * int(sys.argv[2])]))
"""
WRITTEN = '[\n  "xxx"\n]\n'


def write(path: str | Path, length: int = 3, shell: str = "") -> subprocess.CompletedProcess[str]:
    """Write a list in a process of its own; `shell` is what stands behind the command."""
    command = shlex.join([sys.executable, "-c", WRITE, str(path), str(length)]) + f" {shell}"
    bash = ["bash", "-o", "pipefail", "-c", command]
    return subprocess.run(bash, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def device(folder: Path, name: str, minor: int) -> Path:
    """A device node like /dev/NAME, which a fault may destroy."""
    try:
        os.mknod(folder / name, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
        os.close(os.open(folder / name, os.O_WRONLY))
    except PermissionError:
        pytest.skip("making a device takes root, and a file system that has devices")
    return folder / name


@pytest.fixture
def null(tmp_path: Path) -> Path:
    return device(tmp_path, "null", 3)


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[tuple[Path, Callable[[], str]]]:
    """A named pipe, and what its reader has read by the end."""
    os.mkfifo(tmp_path / "fifo")
    with subprocess.Popen(["cat", tmp_path / "fifo"], stdout=subprocess.PIPE, text=True) as reader:
        yield tmp_path / "fifo", lambda: reader.communicate(timeout=30)[0]
        reader.kill()


def test_a_device_is_written_to_and_stays(null: Path) -> None:
    assert is_stream(null)
    write_json(null, [1])
    assert stat.S_ISCHR(null.stat().st_mode)
    assert os.listdir(null.parent) == ["null"]


def test_a_device_behind_links_stays(null: Path) -> None:
    first, second = null.with_name("first"), null.with_name("second")
    first.symlink_to("null")
    second.symlink_to(first)
    write_json(second, [1])
    assert second.is_symlink() and first.is_symlink() and stat.S_ISCHR(null.stat().st_mode)


def test_a_full_device_is_one_line(tmp_path: Path) -> None:
    done = write(device(tmp_path, "full", 7))
    assert done.returncode == 1
    assert done.stderr == f"error: {tmp_path}/full: no space left on the device; free some and run again\n"
    done = write("/dev/stdout", shell="> /dev/full")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1) and "no space left" in done.stderr


def test_a_pipe_is_written_to(fifo: tuple[Path, Callable[[], str]]) -> None:
    path, read = fifo
    write_json(path, ["xxx"])
    assert read() == WRITTEN
    assert path.is_fifo() and os.listdir(path.parent) == ["fifo"]


def test_a_reader_of_a_pipe_that_goes_is_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with subprocess.Popen(["head", "-c", "1", tmp_path / "fifo"], stdout=subprocess.DEVNULL):
        done = write(tmp_path / "fifo", 1_000_000)
    assert (done.returncode, done.stderr) == (1, f"error: {tmp_path}/fifo: broken pipe\n")


def test_a_terminal_is_written_to(tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    name = os.ttyname(follower)
    write_json(name, ["xxx"])
    assert os.read(leader, 100).decode().replace("\r\n", "\n") == WRITTEN
    assert stat.S_ISCHR(os.stat(name).st_mode)
    os.close(leader)
    os.close(follower)


def test_a_socket_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket may not be long
    heard = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        server.listen()

        def hear() -> None:
            connection, _ = server.accept()
            with connection, connection.makefile() as file:
                heard.append(file.read())

        thread = threading.Thread(target=hear)
        thread.start()
        write_json("s", ["xxx"])
        thread.join(30)
    assert heard == [WRITTEN]
    assert stat.S_ISSOCK(os.stat("s").st_mode)


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output(name: str, tmp_path: Path) -> None:
    assert write(name).stdout == WRITTEN
    (tmp_path / "f").write_text("before\n")
    done = write(name, shell=f">> {tmp_path}/f")
    assert (done.returncode, (tmp_path / "f").read_text()) == (0, "before\n" + WRITTEN)
    (tmp_path / "link").symlink_to(name)
    assert write(tmp_path / "link").stdout == WRITTEN


def test_head_ends_a_stage_without_a_word() -> None:
    done = write("/dev/stdout", 1_000_000, "| head -c 4")
    assert (done.returncode, done.stdout, done.stderr) == (141, "[\n  ", "")


def test_what_a_stage_prints_may_be_cut_off() -> None:
    code = "from stages.common.cli import run\nrun(lambda: print('x\\n' * 1_000_000))"
    command = shlex.join([sys.executable, "-c", code])
    for behind, said in (("| head -n 1", ""), ("> /dev/full", "error: output: no space left")):
        bash = ["bash", "-o", "pipefail", "-c", f"{command} {behind}"]
        done = subprocess.run(bash, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode in (1, 141) and done.stderr.startswith(said)
        assert done.stderr.count("\n") == bool(said)


def test_a_link_stays_and_its_target_is_written(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    for name, target in (("a", "old"), ("b", "new"), ("c", "b")):
        (tmp_path / name).symlink_to(target)
        write_json(tmp_path / name, ["xxx"])
        assert (tmp_path / name).is_symlink() and (tmp_path / name).read_text() == WRITTEN
    assert not (tmp_path / "old").is_symlink() and not (tmp_path / "new").is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c", "new", "old"]


def test_a_link_to_a_directory_stays(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/old").touch()
    (tmp_path / "link").symlink_to("real")
    with replacing_directory(tmp_path / "link") as folder:
        (folder / "new").touch()
    assert (tmp_path / "link").is_symlink() and os.listdir(tmp_path / "real") == ["new"]


def test_the_cache_of_dvc_is_never_written(tmp_path: Path) -> None:
    """With cache.type symlink, an output is a link into it; what is there belongs to every revision."""
    kept = tmp_path / "cache/files/md5/d4/1d8cd98f00b204e9800998ecf8427e"
    kept.parent.mkdir(parents=True)
    kept.write_text("old")
    (tmp_path / "out").symlink_to(kept)
    write_json(tmp_path / "out", ["xxx"])
    assert kept.read_text() == "old"
    assert not (tmp_path / "out").is_symlink() and (tmp_path / "out").read_text() == WRITTEN


def test_places_that_are_taken_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.chdir(tmp_path)
    for path, message in {
        ".": "expected a file to write, found a directory",
        "/": "expected a file to write, found a directory",
        "file/x": "expected a folder at file, found a file",
        "fifo/x/y": "expected a folder at fifo, found a pipe",
        "loop": "found a loop of links",
    }.items():
        with pytest.raises(InputError, match=message), replacing(path):
            pass
    for path, message in {
        "file": "expected a directory to write, found a file",
        "fifo": "expected a directory to write, found a pipe",
        "file/x": "expected a folder at file, found a file",
        ".": "found the current one or one that holds it",
        "/": "found the current one or one that holds it",
    }.items():
        with pytest.raises(InputError, match=message), replacing_directory(path):
            pass
    (tmp_path / "out.partial").touch()
    with pytest.raises(InputError, match=r"out\.partial: expected a directory to write, found a file"):
        work_directory(Path("out"))
    assert sorted(os.listdir(tmp_path)) == ["fifo", "file", "loop", "out.partial"]


def test_nothing_is_put_beside_a_device(null: Path) -> None:
    assert beside(null.with_name("a.json"), ".verdicts.jsonl") == null.with_name("a.verdicts.jsonl")
    for place in (beside(null, ".verdicts.jsonl"), partial_of(null)):
        assert not place.is_relative_to(null.parent) and place.parent.is_dir()
    assert descriptor_of(null) is None and target_of(null) == null


def test_stages_write_to_what_they_are_given(tmp_path: Path, stage: Run, null: Path) -> None:
    good = "def f(xs):\n    return [x + 1 for x in xs]\n"
    records.write(tmp_path / "tasks.jsonl", [make_task(1)])
    records.write(tmp_path / "samples.jsonl", [Sample("t/1", n, good) for n in range(2)])
    flags = ["--tasks", "tasks.jsonl", "--samples", "samples.jsonl"]
    extra = [word for flag in ("metrics", "rewards", "timing") for word in (f"--{flag}", null)]
    done = stage("verify", *flags, "--out", "/dev/stdout", *extra)
    (tmp_path / "v.jsonl").write_text(done.stdout)
    assert [verdict.reward for verdict in records.read(Verdict, tmp_path / "v.jsonl")] == [1.0, 1.0]
    (tmp_path / "params.yaml").write_text("benchmark: {sample: {n: 2}, score: {k: [1]}}\n")
    done = stage("benchmark", *flags, "--out", "/dev/stdout", "--verdicts", null, "--timing", null)
    assert '"pass@1": 1.0' in done.stdout
    assert '"pass@1": 1.0' in stage("benchmark", *flags, "--out", "/dev/stdout").stdout
    assert stat.S_ISCHR(null.stat().st_mode)
    assert not any(name.startswith(("stdout", "null")) for name in os.listdir("/dev") if name not in ("stdout", "null"))
    for flag in ("metrics", "timing"):
        said = stage("verify", *flags, "--out", null, f"--{flag}", "v.jsonl/x", code=1).stderr
        assert said.endswith("error: v.jsonl/x: expected a folder at v.jsonl, found a file\n")


@pytest.mark.parametrize("flag", ["--metrics", "--rewards", "--timing"])
def test_a_place_that_is_taken_is_told_before_the_work(tmp_path: Path, flag: str) -> None:
    (tmp_path / "taken").mkdir()
    given = ["--tasks", "no.jsonl", "--samples", "no.jsonl", "--out", str(tmp_path / "v.jsonl")]
    command = [sys.executable, "-m", "stages.verify", *given, flag, str(tmp_path / "taken")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "taken: expected a file to write, found a directory" in done.stderr
    assert not (tmp_path / "v.jsonl").exists()
