"""What the benchmarks share: command line, alternating timings, machine facts, output."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What every benchmark can be told."""

    quick: bool
    json: Path | None


def option_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of what every benchmark can be told."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="prove that it runs; ratios are rough")
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser


def options_of(arguments: argparse.Namespace) -> Options:
    """Return the options among parsed arguments."""
    return Options(quick=arguments.quick, json=arguments.json)


def read_options(description: str | None) -> Options:
    """Read the command line of a benchmark."""
    return options_of(option_parser(description).parse_args())


def seconds_of(work: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def alternate(sides: Mapping[str, Callable[[], object]], *, repeats: int) -> dict[str, list[float]]:
    """Time all sides in turn, so that what disturbs one disturbs all.

    Args:
        sides: What to call, by name.
        repeats: How often each is called; the order turns round every time.

    Returns:
        Seconds of every call, by side.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(repeats):
        order = list(sides.items())
        for name, work in order if repeat % 2 == 0 else reversed(order):
            seconds[name].append(seconds_of(work))
    return seconds


def median_ratio(seconds: Mapping[str, list[float]], *, over: str, under: str) -> float:
    """Return the median over repeats of one side relative to the other."""
    return statistics.median(a / b for a, b in zip(seconds[over], seconds[under], strict=True))


def cpu_seconds(pid: int) -> float:
    """Return the user and system time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def machine_facts() -> dict[str, Any]:
    """Return what the figures depend on."""
    facts: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _commit(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load_average_before": round(os.getloadavg()[0], 2),
    }
    try:
        import torch
    except ModuleNotFoundError:
        return facts
    return facts | {"torch": torch.__version__, "torch_threads": torch.get_num_threads()}


def _commit() -> str | None:
    """Return what git says that these sources are; None where there is no git or no repository."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.stdout.strip()


def publish(
    name: str, *, options: Options, facts: Mapping[str, Any], results: Mapping[str, Any]
) -> None:
    """Print the figures as JSON, and write them where asked."""
    text = document(name, options=options, facts=facts, results=results)
    print(text, end="")
    if options.json is not None:
        options.json.write_text(text)


def document(
    name: str, *, options: Options, facts: Mapping[str, Any], results: Mapping[str, Any]
) -> str:
    """Return the figures as JSON, ending with a line break."""
    found = {
        "benchmark": name, "quick": options.quick, "machine": dict(facts), "results": dict(results)
    }  # fmt: skip
    return json.dumps(found, indent=2) + "\n"
