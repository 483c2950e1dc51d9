"""What an example must be like beside earning 1.0: patterns, names, tests that are worth something, nothing twice."""

import ast
import re
from collections.abc import Iterable

from stages.cleaning.duplicates import Duplicates
from stages.common.files import value_hash
from stages.common.records import Task
from stages.llm.parsing import Draft
from stages.llm.stubs import stubs_of
from stages.settings.data import DuplicateSettings
from stages.settings.spec import SpecSettings
from stages.verifiers.verdicts import same_output

# Definitions at the left margin; what lies deeper belongs to one of these.
RUST_NAMES = re.compile(
    r"^(?:pub(?:\([^)\n]*\))?\s+)?(?:(?:async|unsafe|const|extern\s+\"C\")\s+)*"
    r"(?:fn|struct|enum|trait|type|const|static|union|macro_rules!)\s+(\w+)",
    re.MULTILINE,
)
C_FUNCTIONS = re.compile(
    r"^[A-Za-z_][\w:<>,*&\t ]*?[*&\s]([A-Za-z_]\w*)\s*\([^;{}]{0,1000}\)[^;{}()]{0,200}\{", re.MULTILINE
)
C_TYPES = re.compile(
    r"^(?:typedef\s+)?(?:struct|class|enum(?:\s+class)?|union)\s+(\w+)|^#\s*define\s+(\w+)", re.MULTILINE
)
C_TYPEDEFS = re.compile(
    r"^\}\s*\*?\s*(\w+)\s*;|^typedef\b[^;{}(]{0,200}\b(\w+)\s*;"
    r"|^typedef\b[^;{}(]{0,80}(?:\{[^{}]{0,2000}\}\s*\*?\s*(\w+)\s*;|\(\s*\*\s*(\w+)\s*\))",
    re.MULTILINE,
)
NOT_NAMES = {"main", "if", "for", "while", "switch", "return", "sizeof", "const", "static"}
WORD = re.compile(r"[A-Za-z_]\w*")
FAILING_RETURN = r"\breturn\b(?!\s*(?:0|EXIT_SUCCESS)?\s*;)"  # a value that may tell a failure
ASSERTIONS = {
    "python": r"\bassert\b|\bpytest\.|\.assert\w+\(",
    "rust": r"\bassert(?:_eq|_ne)?!|\bpanic!|\bmatches!|\bunwrap\(|\?;",
    "c": rf"\bassert\s*\(|{FAILING_RETURN}|\babort\s*\(|\bexit\s*\((?!\s*0\s*\))",
    "cpp": rf"\bassert\s*\(|{FAILING_RETURN}|\babort\s*\(|\bexit\s*\((?!\s*0\s*\))|\bthrow\b",
}


def defined_names(code: str, language: str) -> list[str]:
    """What a solution defines at its top level, in order; [] where it does not parse."""
    if language == "python":
        return _python_names(code)
    if language == "rust":
        return list(dict.fromkeys(RUST_NAMES.findall(code)))
    found = [(m.start(), m[1]) for m in C_FUNCTIONS.finditer(code)]
    found += [(m.start(), m[1] or m[2]) for m in C_TYPES.finditer(code)]
    found += [(m.start(), m[m.lastindex or 0]) for m in C_TYPEDEFS.finditer(code)]
    return list(dict.fromkeys(name for _, name in sorted(found) if name not in NOT_NAMES))


def _python_names(code: str) -> list[str]:
    tree = _parsed(code)
    names: list[str] = []
    for node in tree.body if tree else ():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [target.id for target in targets if isinstance(target, ast.Name)]
    return list(dict.fromkeys(names))


def _parsed(code: str) -> ast.Module | None:
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def tested_names(draft: Draft, language: str) -> list[str]:
    """What the solution defines and the tests use."""
    used = set(WORD.findall(draft.tests))
    return [name for name in defined_names(draft.solution, language) if name in used]


def unfit(draft: Draft, spec: SpecSettings, category: str) -> str | None:
    """Why a draft is dropped before anything runs; None where nothing speaks against it."""
    judged = "cases" if draft.cases else "tests"
    if spec.style not in ("either", judged):
        return f"has_{judged}"
    required = [*spec.required, *spec.categories[category].required]
    if not all(re.search(pattern, draft.solution, re.MULTILINE) for pattern in required):
        return "lacks_required"
    if any(re.search(pattern, draft.solution, re.MULTILINE) for pattern in spec.forbidden):
        return "matches_forbidden"
    return _weak_cases(draft, spec.min_cases) if draft.cases else _weak_tests(draft, spec.language)


def _weak_cases(draft: Draft, fewest: int) -> str | None:
    if len(draft.cases) < fewest:
        return "too_few_cases"
    first = draft.cases[0]["stdout"]
    # What stubs of a program do. One output for all inputs, or none at all: a program that does not read its input
    # would pass; the input itself: one that copies it.
    empty = any(same_output(case["stdout"], "") for case in draft.cases)
    same = len(draft.cases) > 1 and all(same_output(case["stdout"], first) for case in draft.cases)
    copied = all(same_output(case["stdin"], case["stdout"]) for case in draft.cases)
    return "weak_tests" if empty or same or copied else None


def _weak_tests(draft: Draft, language: str) -> str | None:
    names = tested_names(draft, language)
    if not names or not re.search(ASSERTIONS[language], draft.tests):
        return "weak_tests"
    if language == "python" and stubs_of(draft.solution, language, None) is None:
        return "too_deep"
    told = set(WORD.findall(draft.problem))
    return None if all(name in told for name in names) else "unnamed"


def make_task(draft: Draft, spec: SpecSettings, task_id: str, meta: dict[str, str]) -> Task:
    """The record of a draft, with its solution as the reference."""
    names = [] if draft.cases else tested_names(draft, spec.language)
    callable_first = [name for name in names if re.search(rf"\b{name}\s*(?:::<[^>]*>)?\(", draft.tests)] or names
    return Task(
        task_id=task_id,
        language=spec.language,
        prompt=draft.problem,
        verifier=spec.verifier,
        entry_point=callable_first[0] if callable_first else None,
        tests=draft.tests,
        cases=draft.cases,
        reference=draft.solution,
        source=f"generate/{spec.name}",
        meta=meta,
    )


WORDS = re.compile(r"\w+|[^\w\s]")


class Seen:
    """Earlier examples, to refuse those that come twice: with the same statement or the same solution, but for layout
    and case, or as near duplicates in the sense of stages/cleaning/duplicates.py."""

    def __init__(self, settings: DuplicateSettings, tasks: Iterable[Task] = ()) -> None:
        self._of: dict[str, str] = {}
        self._near = Duplicates(settings)
        for task in tasks:
            self.add(task)

    def duplicate_of(self, task: Task) -> str | None:
        """The id of an earlier example that this one repeats."""
        same = next((self._of[key] for key in _keys(task) if key in self._of), None)
        match = None if same else self._near.earlier(task)
        return match.task_id if match else same

    def add(self, task: Task) -> None:
        """Remember an example."""
        self._near.add(task)
        for key in _keys(task):
            self._of.setdefault(key, task.task_id)


def _keys(task: Task) -> list[str]:
    texts = {"problem": task.prompt, "solution": task.reference or ""}
    return [value_hash([name, " ".join(WORDS.findall(text.lower()))]) for name, text in texts.items()]
