"""CPU seconds until the light parts are ready: imports, and the verifier's help.

Every figure is the user and system time of a whole process, interpreter start
included; ``best`` of N runs is what the machine can do, ``median`` what it did.
"""

import resource
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.measuring import machine_facts, publish, read_options

ROOT = Path(__file__).resolve().parents[1]
LIMIT_CPU_SECONDS = 0.5
COMMANDS = {
    "python": ["-c", "pass"],
    "import auditor": ["-c", "import auditor"],
    "import auditor.attest.verify": ["-c", "import auditor.attest.verify"],
    "stageaudit verify --help": ["-m", "service.cli.main", "verify", "--help"],
}
BOUNDED = ("import auditor", "stageaudit verify --help")


def cpu_seconds(arguments: list[str]) -> float:
    """Return the CPU time of one new interpreter that runs ``arguments``."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(runs: int) -> dict[str, dict[str, float]]:
    """Return best and median of every command, after one run that compiles bytecode."""
    results = {}
    for name, arguments in COMMANDS.items():
        cpu_seconds(arguments)
        spent = [cpu_seconds(arguments) for _ in range(runs)]
        results[name] = {
            "best": round(min(spent), 4),
            "median": round(statistics.median(spent), 4),
        }
    return results


def main() -> None:
    """Print the figures; exit with 1 when a bounded one exceeds the limit at its best."""
    options = read_options(__doc__)
    facts = machine_facts()

    figures = measure(2 if options.quick else 7)

    kept = all(figures[name]["best"] <= LIMIT_CPU_SECONDS for name in BOUNDED)
    results = {"cpu_seconds": figures, "bound": LIMIT_CPU_SECONDS, "within_bound": kept}
    publish("import_time", options=options, facts=facts, results=results)
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
