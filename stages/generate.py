"""Have an LLM write examples to a spec; keep those whose tests pass on their solution and fail on stubs of it.

python -m stages.generate --spec data/specs/NAME.yaml --answers data/answers/NAME.jsonl --model models/base \\
    --out data/generated/NAME.jsonl --metrics metrics/generate/NAME.json

Who writes them, and what it may cost, is the entry `specs.NAME` of params.yaml. Every raw answer is kept in --answers:
a run that was killed, or is run again, asks only for what is not there. Answers are untrusted code: they run in the
sandbox and nowhere else.
"""

import functools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stages.common import records
from stages.common.cli import heavy_imports, run
from stages.common.errors import InputError
from stages.common.files import write_json
from stages.common.outputs import output_file
from stages.common.params import Params, argument_parser
from stages.common.secrets import Secrets
from stages.common.timing import write_timing
from stages.llm.asking import Asked, Asker
from stages.llm.backends import Backend, connect
from stages.llm.bench import Bench, expect_examples_to_pass
from stages.llm.examples import Seen
from stages.llm.ledger import Ledger
from stages.llm.rounds import Outcome, Rounds
from stages.settings.compute import ComputeSettings
from stages.settings.data import DataSettings
from stages.settings.generate import GenerateSettings, check_specs
from stages.settings.spec import load_spec, verify_settings
from stages.settings.verify import VerifySettings


def entry(params: Params, name: str) -> GenerateSettings:
    """The settings of one spec. InputError where params.yaml has no entry for it."""
    found = check_specs(params)
    if name not in found:
        raise InputError(f"{params.path}: specs.{name}: no such entry; `make generate SPEC={name} BACKEND=...` adds it")
    return found[name]


def make_backend(
    params: Params, settings: GenerateSettings, model: Path | None, secrets: Secrets
) -> tuple[Callable[[], Backend], list[str]]:
    """What makes the backend, and what tells the weights of a local model from others."""
    if settings.backend != "local":
        return functools.partial(connect, settings, secrets), []
    if model is None:
        raise InputError("backend 'local' needs --model: the checkpoint that answers")
    with heavy_imports():
        from stages.llm.local import Local

    local = Local(model, settings, params.section(ComputeSettings, "compute"), params.seed)
    return lambda: local, local.origin()


def summary(name: str, outcome: Outcome, costs: bool) -> str:
    """One line for the log."""
    counts = outcome.metrics()
    money = f", {counts['cost']:.4f} spent" if costs else ""
    end = f"; stopped at the {outcome.stopped}, raise specs.{name}.cap to go on" if outcome.stopped else ""
    return (
        f"{name}: {counts['kept']} of {counts['wanted']} examples from {counts['answered']} answers, "
        f"{counts['charged_tokens']:,} tokens{money}{end}"
    )


def expect_some(spec: str, outcome: Outcome, asked: Asked) -> None:
    """InputError, with the commonest reasons, where no example was kept."""
    if outcome.kept:
        return
    reasons = (outcome.malformed + outcome.dropped).most_common(3)
    told = ", ".join(f"{count} {kind}" for kind, count in reasons) or asked.last or "no answers"
    end = f"; stopped at the {outcome.stopped}" if outcome.stopped else ""
    answered = sum(cell.answered for cell in outcome.cells.values())
    raise InputError(f"spec {spec}: not one example kept of {answered} answers: {told}{end}")


def timing(asked: Asked, seconds: float) -> dict[str, Any]:
    """What varies from run to run."""
    rate = asked.tokens / asked.seconds if asked.seconds else 0.0
    return {
        "seconds": round(seconds, 3),
        "asking_seconds": round(asked.seconds, 3),
        "answers_asked": asked.now,
        "answers_found": asked.found,
        "pauses": asked.waits,
        "tokens_per_second": round(rate, 1),
    }


def main() -> None:
    """Check the spec and its examples, ask and judge, write."""
    parser = argument_parser(__doc__)
    parser.add_argument("--spec", type=Path, required=True, metavar="FILE", help="the spec (YAML)")
    parser.add_argument("--answers", type=Path, required=True, metavar="FILE", help="raw answers, kept (JSON Lines)")
    parser.add_argument("--model", type=Path, metavar="DIR", help="checkpoint that backend 'local' asks")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="tasks (JSON Lines)")
    parser.add_argument("--metrics", type=output_file, required=True, metavar="FILE", help="counts (JSON)")
    parser.add_argument("--timing", type=output_file, metavar="FILE", help="seconds and rates (JSON)")
    args = parser.parse_args()
    started = time.monotonic()
    params, spec = Params(args.params), load_spec(args.spec)
    settings = entry(params, spec.name)
    secrets = Secrets(settings.key_env or settings.preset.key_env)
    bench = Bench(spec, verify_settings(spec, params.section(VerifySettings, "verify")))
    duplicates = params.section(DataSettings, "data").duplicates
    seen = Seen(duplicates, expect_examples_to_pass(spec, bench))
    make, origin = make_backend(params, settings, args.model, secrets)
    with Ledger(args.answers, settings.cap) as ledger:
        asker = Asker(make, ledger, settings, secrets)
        outcome = Rounds(spec, settings, asker, bench, origin).run(seen)
    expect_some(spec.name, outcome, asker.asked)
    records.write(args.out, outcome.kept)
    write_json(args.metrics, outcome.metrics())
    write_timing(args.timing, timing(asker.asked, time.monotonic() - started))
    print(summary(spec.name, outcome, settings.costs), file=sys.stderr)


if __name__ == "__main__":
    run(main)
