"""The report as one HTML page that needs no network, and the same as Markdown for a pull request.

python -m stages.page --out build/report/index.html --markdown build/report/report.md

It shows what lies in metrics/ and data/: tables, DVC's plots, parameters, revision, machine, versions, and for every
held-out task its prompt and its samples with their verdicts.
"""

from pathlib import Path

from stages.common.cli import run
from stages.common.errors import InputError
from stages.common.files import write_csv
from stages.common.params import Params, argument_parser
from stages.common.stage_times import HEADER, stage_times
from stages.pages.overview import sections
from stages.pages.pictures import pictures
from stages.pages.writing import write_markdown, write_page
from stages.settings.checkpoints import made_beside
from stages.settings.cycle import check_chain


def judged(folder: Path, models: list[str]) -> dict[str, tuple[Path, Path]]:
    """Samples and verdicts by checkpoint. InputError where a benchmarked checkpoint's are missing."""
    found = {model: (folder / model / "samples.jsonl", folder / model / "verdicts.jsonl") for model in models}
    for paths in found.values():
        if missing := [path for path in paths if not path.exists()]:
            raise InputError(f"{missing[0]}: no such file; make it by `dvc repro`, or fetch it by `dvc pull`")
    return found


def main() -> None:
    """Collect and write."""
    parser = argument_parser(__doc__)
    parser.add_argument("--metrics", type=Path, default=Path("metrics"), help="folder of all metrics")
    parser.add_argument("--benchmark", type=Path, default=Path("data/benchmark"), help="folder of samples and verdicts")
    parser.add_argument("--tasks", type=Path, default=Path("data/mix/benchmark.jsonl"), help="the held-out tasks")
    parser.add_argument("--out", type=Path, default=Path("build/report/index.html"), help="file for the page")
    parser.add_argument("--markdown", type=Path, default=Path("build/report/report.md"), help="file for the Markdown")
    parser.add_argument("--kept", type=int, default=3, help="different answers shown of a task and checkpoint")
    args = parser.parse_args()
    if args.kept < 1:
        raise InputError(f"--kept: found {args.kept}, expected at least 1")
    params = Params(args.params)
    _, models = check_chain(params, made_beside(params))
    tables = sections(params, args.metrics, models)
    if (args.metrics / "timing").is_dir():  # stages may have run since the stage `report` did
        write_csv(args.metrics / "timing" / "stages.csv", HEADER, stage_times(args.metrics / "timing"))
    title = f"halo-forge: {params.profile or 'report'}"
    samples = judged(args.benchmark, models)
    write_page(args.out, title, tables, pictures(), args.tasks, samples, args.kept)
    write_markdown(args.markdown, title, tables)
    print(f"{args.out} and {args.markdown} are written")


if __name__ == "__main__":
    run(main)
