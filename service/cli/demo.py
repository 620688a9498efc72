"""``stageaudit demo``: the whole product on real data, in under a minute."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from auditor.checks import needs_extra
from auditor.edge.clock import SystemClock
from auditor.record.new_folder import require_free
from service.cli.output import ExitCode, JsonOption, console, emit

if TYPE_CHECKING:
    from service.demo.story import DemoOutcome


def demo(
    keep: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Keep log, data, request and report here.", file_okay=False
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of data split and training.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Train in three stages, one of which plants a cue; find out which, and prove it.

    Records the training, starts a service of its own, pushes, audits, compares every figure with
    exact retraining, verifies the signed report. Needs no network and the extra [demo]. The exit
    code is 1 when one of its claims does not hold.
    """
    if keep is not None:
        require_free(keep)  # before torch is loaded
    with needs_extra("demo", purpose="The demo"):
        from service.demo.story import one_thread, run_demo
    one_thread()
    with _folder(keep) as root:
        outcome = run_demo(
            root,
            console=Console(quiet=True) if as_json else console,
            clock=SystemClock(),
            seed=seed,
            next_step=f"cd {root}" if keep else "stageaudit demo --keep demo && cd demo",
        )
    if as_json:
        emit(_plain(outcome), as_json=True, human=lambda: None)
    if not outcome.holds:
        raise typer.Exit(ExitCode.FAIL)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with TemporaryDirectory(prefix="stageaudit-demo-") as folder:
            yield Path(folder)
        return
    keep.mkdir(parents=True, exist_ok=True)
    yield keep.resolve()


def _plain(outcome: "DemoOutcome") -> dict[str, Any]:
    return {
        "claims": [asdict(claim) for claim in outcome.claims],
        "rows": [
            {
                "query": row.effect.query,
                "kind": row.effect.kind,
                "stage": row.effect.stage,
                "value": row.effect.value,
                "low": row.effect.low,
                "high": row.effect.high,
                "truth": row.truth,
                "inside": row.inside,
            }
            for row in outcome.rows
        ],
        "seconds": round(outcome.seconds, 1),
    }
