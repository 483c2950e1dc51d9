"""What readers of JSON and YAML refuse: one line with file and line for each, and nothing that takes long."""

import json
import time
from pathlib import Path

import pytest
import yaml

from stages.common import records
from stages.common.errors import InputError
from stages.common.json_reader import decode, read_json, read_map
from stages.common.lineage import read_lineage
from stages.common.rates import read_rates
from stages.common.records import Sample, Task, is_entry_point
from stages.common.revisions import outputs
from stages.common.tables import read_csv
from stages.common.tables import read_json as read_metrics
from stages.common.yaml_files import read_document
from stages.common.yaml_reader import MOST_VALUES, decode_yaml, read_yaml
from tests.conftest import Run, make_task, write_lines

SAMPLE = '"task_id": "t/1", "sample": 0, "completion": "x"'
TASK = json.loads(records.encode(make_task(1)))
FAULTS = {
    '"reward": NaN': "found NaN, expected a finite number",
    '"reward": Infinity': "found Infinity, expected a finite number",
    '"reward": [-Infinity]': "found -Infinity, expected a finite number",
    '"reward": 1e999': "found 1e999, expected a number that is finite as a float",
    '"a": 1, "a": 1': 'key "a" comes twice in one object',
    '"x": {"a": 1, "\\u0061": 2}': 'key "a" comes twice in one object',
    '"x": ' + "9" * 5000: "found an integer of thousands of digits",
    '"x": ' + "[" * 100_000: "JSON nested too deeply",
}
LAUGHS = "a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGED = "a: &a {x: 1}\n" + "".join(
    f"{name}: &{name}\n  <<: [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_a_record_name_file_and_line(tmp_path: Path, fault: str) -> None:
    path = write_lines(tmp_path / "s.jsonl", [f"{{{SAMPLE}}}", f"{{{SAMPLE}, {fault}}}"])
    with pytest.raises(InputError) as error:
        list(records.read(Sample, path, unique=False))
    assert one_line(error) == f"{path}:2: {FAULTS[fault]}"


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_a_file_name_its_line(tmp_path: Path, fault: str) -> None:
    """In every reader of a whole file."""
    path = tmp_path / "x.json"
    first, *rest = fault.split(", ") if '"a": 1, "a"' in fault else (fault,)
    path.write_text("{\n" + '"of": {"a": [{"a": ":{,"}]},\n' + "".join(f"{part},\n" for part in rest) + first + "\n}")
    line = 3 + len(rest)
    if "nested" in FAULTS[fault] or "{" in fault:
        line = 3
    readers = [read_json, read_map, read_metrics, read_rates, read_lineage]
    for reader in readers:
        with pytest.raises(InputError) as error:
            reader(path)
        told = one_line(error)
        assert told.startswith(f"{path}:") and told.endswith(FAULTS[fault])
        assert "nested" in told or told.startswith(f"{path}:{line}: ")


def test_what_is_no_json_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for content, message in {
        b'{"a": 1,}': ":1: not JSON: ",
        b'{\n"a": \xff}': ":2: not UTF-8 at byte 7",
        b"[1]": ": expected a JSON object, found list",
        b"": ":1: not JSON: ",
    }.items():
        path.write_bytes(content)
        with pytest.raises(InputError) as error:
            read_map(path)
        assert one_line(error).startswith(f"{path}{message}")
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_map(path) == {"a": 1}
    for place, message in ((tmp_path / "no", "no such file; run it"), (tmp_path, "found a directory")):
        with pytest.raises(InputError, match=message):
            read_json(place, "run it")


def test_a_file_of_another_project_is_read_as_python_reads_it(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"time_step_limit": [0.0, Infinity]}')
    assert read_map(tmp_path / "config.json", foreign=True)["time_step_limit"][1] == float("inf")


def test_reading_is_about_as_fast_as_before() -> None:
    line = json.dumps({"task_id": "t/1", "sample": 1, "completion": "x = 1\n" * 100, "tokens": 9, "logprob": -0.5})
    seconds = []
    for reader in (json.loads, lambda text: decode(text, "f:1")):
        began = time.process_time()
        for _ in range(3000):
            reader(line)
        seconds.append(time.process_time() - began)
    assert seconds[1] < 3 * seconds[0] + 0.05


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("sample", 10**20, "expected a number of 64 bits"),
        ("seed", -(10**20), "expected a number of 64 bits"),
        ("temperature", 10**400, "expected a number of 64 bits"),
        ("task_id", "t/2", "sample 0 of task 't/2': no such task; did you mean 't/1'?"),
        ("task_id", "else", "sample 0 of task 'else': no such task; expected one of 1 tasks"),
    ],
)
def test_wrong_fields_of_a_sample(tmp_path: Path, field: str, value: object, message: str) -> None:
    sample = {"task_id": "t/1", "sample": 0, "completion": "", field: value}
    path = write_lines(tmp_path / "s.jsonl", ["", json.dumps(sample)])
    with pytest.raises(InputError) as error:
        list(records.read(Sample, path, known={"t/1": None}))
    assert one_line(error).startswith(f"{path}:2: ") and message in one_line(error)


NAMES = {
    "python": ("f", "größe", "Solution.add", "Solution().twoSum", "A.B.c"),
    "cpp": ("f", "ns::f", "a::b::c", "Box.add"),
    "rust": ("f", "math::add"),
    "other": ("f", "a.b", "a::b"),
}
NO_NAMES = ("", " ", "f()", "f g", "1f", "f;", ".f", "f.", "a..b", "f\n", "\ud800", "a::", "f(x)", "a-b", "()")


def test_entry_points_are_names(tmp_path: Path) -> None:
    for language, names in NAMES.items():
        assert all(is_entry_point(name, language) for name in names)
        assert not any(is_entry_point(name, language) for name in NO_NAMES)
    assert not any(is_entry_point(name, "python") for name in ("class", "ns::f", "A.None"))
    for name in NO_NAMES:
        path = write_lines(tmp_path / "t.jsonl", [json.dumps({**TASK, "entry_point": name})])
        with pytest.raises(InputError) as error:
            records.read_tasks(path)
        assert one_line(error).startswith(f"{path}:1: field 'entry_point': expected a name")
    records.read_tasks(write_lines(tmp_path / "t.jsonl", [json.dumps({**TASK, "entry_point": None})]))


@pytest.mark.parametrize("field", ["language", "verifier"])
def test_names_of_a_task(tmp_path: Path, field: str) -> None:
    for value in ("", " "):
        path = write_lines(tmp_path / "t.jsonl", [json.dumps({**TASK, field: value})])
        with pytest.raises(InputError, match=f"t.jsonl:1: field '{field}': expected a name"):
            list(records.read(Task, path))


YAML = {
    "a: 1\nb: 2\na: 3\n": ":3: key 'a' comes twice in one map",
    "x:\n  a: {b: 1,\n    b: 1}\n": ":3: key 'b' comes twice in one map",
    "1: a\n0x1: b\n": ":2: key '0x1' comes twice in one map",
    LAUGHS: ":5: aliases unfold into more than 100,000 values",
    MERGED: ":11: aliases unfold into more than 100,000 values",
    "a: &a\n  b: *a\n": ":2: alias *a inside of what it stands for",
    "a: &a [1, [*a]]\n": ":1: alias *a inside of what it stands for",
    "a: *b\n": ":1: not YAML: found undefined alias",
    "a: 1\nb: 99999999999999999999\n": ":2: found 99999999999999999999, expected an integer of 64 bits",
    "a: " + "9" * 5000: ":1: found '999",
    "a: 2024-13-45\n": ":1: found '2024-13-45', expected one of YAML's timestamp",
    "a: !!bool maybe\n": ":1: found 'maybe', expected one of YAML's bool",
    "a: 1\nb: \x07\n": ":2: not YAML: ",
    "[" * 100_000: ":1: not YAML: ",
    "a: !!python/object/apply:os.system [ls]\n": ":1: not YAML: could not determine a constructor",
    "a: [1\n": "not YAML: ",
}


@pytest.mark.parametrize("text", YAML)
def test_faults_of_yaml(tmp_path: Path, text: str) -> None:
    """In the reader, in the one that edits, and in that of dvc.lock."""
    path = tmp_path / "x.yaml"
    path.write_text(text)
    for reader in (read_yaml, read_document, outputs):
        began = time.monotonic()
        with pytest.raises(InputError) as error:
            reader(path)
        assert one_line(error).startswith(f"{path}:") and YAML[text] in one_line(error)
        assert time.monotonic() - began < 5


def test_aliases_and_merges_are_read() -> None:
    """A key that a merge brings may be given again."""
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\nc: {deep: {e: &e {<<: *a, x: 4}, f: *e}}\ng: {<<: [*a, *e], z: *a}\n"
    found = decode_yaml(text, "f")
    assert found["b"] == {"x": 3, "y": 2} and found["c"]["deep"]["f"] == {"x": 4, "y": 2} and found["g"]["z"]["x"] == 1
    assert found == yaml.safe_load(text)
    assert len(decode_yaml("[" + "1, " * (MOST_VALUES + 9) + "1]", "f")) > MOST_VALUES


@pytest.mark.parametrize("edit", ["seed: 0\nseed: 1", "seed: 0\nx: &x [*x]"])
def test_stages_that_read_and_edit_params(tmp_path: Path, stage: Run, edit: str) -> None:
    shipped = (Path(__file__).parents[1] / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(shipped.replace("seed: 0", edit, 1))
    for command in (
        ["settings"],
        ["cycles", "--cycles", "9", "--no-run"],
        ["verify", "--tasks", "t", "--samples", "s"],
    ):
        said = stage(*command, *(["--out", "o"] if command[0] == "verify" else []), code=1).stderr
        assert said.startswith("error: params.yaml:") and said.count("\n") == 1


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf", "1e999"])
def test_settings_are_finite(tmp_path: Path, stage: Run, value: str) -> None:
    (tmp_path / "params.yaml").write_text(f"verify: {{limits: {{wall_factor: {value}}}}}\n")
    said = stage("verify", "--tasks", "t", "--samples", "s", "--out", "o", code=1).stderr
    assert said.startswith("error: params.yaml: verify.limits.wall_factor: found ") and said.count("\n") == 1


def test_a_table_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"a,b\n\xff,1\n")
    with pytest.raises(InputError, match=r"t\.csv: not CSV in UTF-8"):
        read_csv(tmp_path / "t.csv")


def test_a_name_with_line_ends_is_told_in_one_line(tmp_path: Path, stage: Run) -> None:
    records.write(tmp_path / "t.jsonl", [make_task(1)])
    records.write(tmp_path / "s.jsonl", [Sample("a\nb\x1b[2J", 0, "")])
    said = stage("verify", "--tasks", "t.jsonl", "--samples", "s.jsonl", "--out", "o", code=1).stderr
    assert said.splitlines()[-1].startswith(r"error: s.jsonl:1: sample 0 of task 'a\nb\x1b[2J': no such task")
