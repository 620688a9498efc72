"""Command line of the fidelity benchmark; see the package."""

import argparse
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final, final

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from auditor.plan.settings import EstimatorSettings
from benchmarks.fidelity.estimators import ESTIMATORS
from benchmarks.fidelity.judging import Worlds, judge
from benchmarks.fidelity.rows import Row
from benchmarks.fidelity.summary import summarise
from benchmarks.fidelity.tables import row_table, summary_table
from benchmarks.fidelity.workloads import WORKLOADS
from benchmarks.measuring import Options, document, machine_facts
from service.config import cache_folder

SEEDS: Final = (0, 1, 2)
WORLDS: Final = Worlds(orders=8, reruns=8)
QUICK: Final = Worlds(orders=2, reruns=2)
INTERRUPTED: Final = 130


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What the command line asks."""

    options: Options
    workloads: tuple[str, ...]
    estimators: dict[str, EstimatorSettings]
    seeds: tuple[int, ...]
    worlds: Worlds
    cache: Path
    markdown: Path | None


@final
class Bar:
    """Progress on standard error."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._task = bars.add_task("", total=None)

    def begin(self, what: str, total: int) -> None:
        """Start a piece of work of so many parts."""
        self._bars.reset(self._task, total=total, description=what)

    def advance(self, parts: int) -> None:
        """Some parts are done."""
        self._bars.advance(self._task, parts)

    def set(self, done: int, total: int) -> None:
        """So many parts of a total are done."""
        self._bars.update(self._task, completed=done, total=total)


def read_arguments(words: list[str]) -> Arguments:
    """Read the command line; an unknown name ends with a message that lists the known ones."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fidelity",
        description="Every estimator beside exact retraining in plain torch.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="one seed, two orders, two reruns: proves that it runs"
    )
    parser.add_argument(
        "--workload", action="append", metavar="W", choices=WORKLOADS, help="default: all"
    )
    parser.add_argument(
        "--estimator", action="append", metavar="E", choices=ESTIMATORS, help="default: all"
    )
    parser.add_argument("--seeds", type=_numbers, metavar="0,1,2", help="default: 0,1,2")
    parser.add_argument(
        "--cache", type=Path, default=cache_folder() / "truth", help="folder of known truths"
    )
    parser.add_argument("--json", type=Path, metavar="F", help="write all rows here")
    parser.add_argument("--markdown", type=Path, metavar="F", help="write all rows as a table here")
    found = parser.parse_args(words)
    return Arguments(
        options=Options(quick=found.quick, json=found.json),
        workloads=tuple(dict.fromkeys(found.workload or WORKLOADS)),
        estimators={name: ESTIMATORS[name] for name in found.estimator or ESTIMATORS},
        seeds=found.seeds or ((0,) if found.quick else SEEDS),
        worlds=QUICK if found.quick else WORLDS,
        cache=found.cache,
        markdown=found.markdown,
    )


def main(words: list[str]) -> int:
    """Judge, print the summary as Markdown, write the rows; return the exit code."""
    asked = read_arguments(words)
    torch.set_num_threads(1)
    facts = machine_facts()
    rows: list[Row] = []
    runs: list[dict[str, Any]] = []
    complete = False
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    try:
        with Bars(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bars:
            bar = Bar(bars)
            for name, seed in product(asked.workloads, asked.seeds):
                judged = judge(
                    name,
                    seed,
                    estimators=asked.estimators,
                    worlds=asked.worlds,
                    cache=asked.cache,
                    progress=bar,
                )
                rows += judged.rows
                runs.append(dict(judged.facts))
        complete = True
    except KeyboardInterrupt:
        print("interrupted; what was finished is written", file=sys.stderr)
    summaries = summarise(rows)
    print(summary_table(summaries))
    if asked.options.json is not None:
        results = {
            "complete": complete,
            "worlds": {"orders": asked.worlds.orders, "reruns": asked.worlds.reruns},
            "estimators": {
                name: settings.model_dump(mode="json")
                for name, settings in asked.estimators.items()
            },
            "runs": runs,
            "summary": summaries,
            "rows": rows,
        }
        text = document("fidelity", options=asked.options, facts=facts, results=results)
        asked.options.json.write_text(text)
    if asked.markdown is not None:
        asked.markdown.write_text(summary_table(summaries) + "\n" + row_table(rows))
    return 0 if complete else INTERRUPTED


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
