"""The experiment on a terminal and as JSON: options, figures, claims, exit code."""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import torch

from auditor.audit.local import LocalProgress
from auditor.errors import AuditorError
from auditor.estimators.retrain import RetrainSettings
from auditor.plan.settings import RECOMMENDED, EstimatorSettings
from benchmarks.fidelity.workload import Workload
from examples.spurious.claims import Claim, check_claims
from examples.spurious.experiment import REPAIRED_FILE, Outcome, Row, run_experiment
from examples.spurious.timeline import drawn

ESTIMATORS: dict[str, EstimatorSettings] = {
    "default": RECOMMENDED,
    "retrain": RetrainSettings(),
}


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that both examples have."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="train less; about half a minute")
    parser.add_argument("--seed", type=int, default=0, help="decides data, models and orders")
    parser.add_argument(
        "--estimator",
        choices=sorted(ESTIMATORS),
        default="default",
        help="what the audit estimates with",
    )
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="new folder for the log and the repaired model"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    return parser


def tell(workload: Workload, options: argparse.Namespace, *, planting: str) -> int:
    """Run the experiment, print it, and return the exit code: 1 when a claim fails."""
    torch.set_num_threads(1)
    with ExitStack() as cleaning:
        folder = options.keep or Path(cleaning.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        outcome = run_experiment(
            workload,
            folder,
            estimator=ESTIMATORS[options.estimator],
            say=_say,
            progress=_progress,
        )
    claims = check_claims(outcome, planting=planting)
    print("\n".join(_lines(outcome, claims)))
    if options.keep is not None:
        print(f"\nKept: {folder / 'recorded' / 'log'}, {folder / REPAIRED_FILE}")
    if options.json is not None:
        options.json.write_text(json.dumps(_document(outcome, claims), indent=2) + "\n")
    return 0 if all(claim.holds for claim in claims) else 1


def run_or_refuse(main: Callable[[None], int]) -> None:
    """Call an example's main function; what it cannot use is one line, not a traceback."""
    try:
        code = main(None)
    except AuditorError as error:
        sys.exit(str(error))
    sys.exit(code)


def _say(text: str) -> None:
    print(f"… {text}", file=sys.stderr, flush=True)


def _progress(state: LocalProgress) -> None:
    """Keep one line of a terminal up to date; a file gets none."""
    if sys.stderr.isatty():
        share = state.steps_done / max(1, state.steps_total)
        text = f"  {state.kind} {share:4.0%}, {state.actions_done} of {state.actions_total} actions"
        print(f"\r{text:<60}\r", end="", file=sys.stderr, flush=True)


def _lines(outcome: Outcome, claims: tuple[Claim, ...]) -> list[str]:
    return [
        "",
        "Which stage, which source? Had it been taken out, the cue would weigh less by (logit):",
        f"  {'':<28}{'audit':>8} {'interval':>18} {'exact':>8}",
        *(_row(row) for row in outcome.rows),
        "",
        "When? First-order effect on the cue of the updates of each window (AA-Score):",
        *drawn(outcome.windows),
        "",
        f"Take out: {outcome.found.key}",
        f"  {'':<42}{'cue':>7} {'accuracy':>9}",
        *(
            f"  {name:<42}{model.cue:+7.3f} {model.accuracy:>9.1%}"
            for name, model in {
                "before": outcome.before,
                "repaired, from the log": outcome.repaired,
                "repaired, on a quarter of every batch": outcome.cheap,
                "trained without it, in plain torch": outcome.exact,
            }.items()
        ),
        f"  {outcome.statement}",
        "",
        *(f"{'✓' if claim.holds else '✗'} {claim.text}" for claim in claims),
    ]


def _row(row: Row) -> str:
    effect = row.effect
    interval = (
        ""
        if effect.low is None or effect.high is None
        else f"{effect.low:+.3f} to {effect.high:+.3f}"
    )
    name = f"{row.asked.kind} {row.asked.stage if row.asked.drop is None else row.asked.drop.value}"
    return f"  {name:<28}{effect.value:+8.3f} {interval:>18} {row.exact:+8.3f}"


def _document(outcome: Outcome, claims: tuple[Claim, ...]) -> dict[str, object]:
    return {
        "rows": [
            {
                "kind": row.asked.kind,
                "stage": row.asked.stage,
                "source": None if row.asked.drop is None else row.asked.drop.value,
                "value": row.effect.value,
                "low": row.effect.low,
                "high": row.effect.high,
                "exact": row.exact,
            }
            for row in outcome.rows
        ],
        "found": outcome.found.key,
        "timeline": [window.model_dump() for window in outcome.windows],
        "models": {
            name: asdict(model)
            for name, model in {
                "before": outcome.before,
                "repaired": outcome.repaired,
                "cheap": outcome.cheap,
                "exact": outcome.exact,
            }.items()
        },
        "claims": [asdict(claim) for claim in claims],
    }
