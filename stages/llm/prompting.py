"""The messages that ask for one example. They depend on the spec and the example's index, and on nothing else."""

from stages.extraction.tags import TAGS
from stages.llm.backends import Messages
from stages.settings.spec import ExampleSettings, SpecSettings

SHOWN = 2  # model examples in a prompt
FORM = """\
Answer in exactly this form, with nothing before or after it:

### Problem
The statement, complete by itself: names and signatures of all that the tests use, limits, what happens at the edges.

### Solution
```{tag}
the solution
```

{judged}"""
TESTS = """\
### Tests
```{tag}
the tests; they use the solution's names without an import or include of it, and a wrong solution fails them
```"""
CASES = """\
### Cases
Input:
```
standard input of the first case
```
Output:
```
what the program prints for it
```
and so on, {count} cases or more with different outputs"""


def messages(spec: SpecSettings, category: str, level: str, index: int) -> Messages:
    """System and user message for example `index` of a cell. Topics and model examples take turns."""
    kind, step = spec.categories[category], spec.levels[level]
    parts = [
        f"Write one new {spec.language} programming problem with its solution and its {_judged_by(spec)}.",
        f"Category: {category}: {kind.description.strip()}",
        f"Level: {level}: {step.description.strip()}",
    ]
    if kind.topics:
        parts.append(f"Topic: {kind.topics[index % len(kind.topics)]}")
    turn = index // len(kind.topics) if kind.topics else index
    parts.append(f"This is variation {turn + 1}: choose a situation, names and data that do not come to mind first.")
    parts.append(f"Style guide:\n{spec.guide.strip()}")
    if spec.required or kind.required:
        parts.append("The solution must match these patterns: " + ", ".join([*spec.required, *kind.required]))
    if spec.forbidden:
        parts.append("The solution must not match these patterns: " + ", ".join(spec.forbidden))
    parts.append(_form(spec))
    parts += [f"A model example:\n\n{shown(example, spec)}" for example in _examples(spec, index)]
    return [{"role": "system", "content": spec.system.strip()}, {"role": "user", "content": "\n\n".join(parts)}]


def _judged_by(spec: SpecSettings) -> str:
    return "tests or cases" if spec.style == "either" else spec.style


def _form(spec: SpecSettings) -> str:
    tag = TAGS[spec.language][0]
    tests, cases = TESTS.format(tag=tag), CASES.format(count=spec.min_cases)
    judged = {"tests": tests, "cases": cases, "either": f"{tests}\n\nor, for a whole program, instead:\n\n{cases}"}
    return FORM.format(tag=tag, judged=judged[spec.style])


def _examples(spec: SpecSettings, index: int) -> list[ExampleSettings]:
    count = min(SHOWN, len(spec.examples))
    return [spec.examples[(index + number) % len(spec.examples)] for number in range(count)]


def shown(example: ExampleSettings, spec: SpecSettings) -> str:
    """An example in the form that answers must have."""
    tag = TAGS[spec.language][0]
    parts = [f"### Problem\n{example.problem.strip()}", f"### Solution\n```{tag}\n{example.solution.rstrip()}\n```"]
    if example.tests:
        parts.append(f"### Tests\n```{tag}\n{example.tests.rstrip()}\n```")
    else:
        pairs = (f"Input:\n```\n{c.stdin}```\nOutput:\n```\n{c.stdout}```" for c in example.cases)
        parts.append("### Cases\n" + "\n".join(pairs))
    return "\n\n".join(parts)
