"""CPU time of verifying a report with 10,000 effects, beside plain parsing of the same JSON.

Usage: python -m benchmarks.verify_speed [--quick] [--json F]

Every effect has every figure that a report can have. ``verify`` is ``verify_bundle`` in a warm
process, ``command`` the whole process of ``stageaudit verify``, interpreter and imports included,
both without files to hash; ``parse`` is ``json.loads`` of bundle and payload, which checks nothing.
"""

import base64
import gc
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from auditor.attest.trust import format_trust
from auditor.attest.verify import verify_bundle
from auditor.effects import Effect
from benchmarks.measuring import machine_facts, publish, read_options
from tests.support.reports import Signed, make_effect, make_report, make_signed

EFFECTS = 10_000
LIMIT_CPU_SECONDS = 1.0
ROOT = Path(__file__).resolve().parents[1]


def full_effect(number: int, drawn: random.Random) -> Effect:
    """Return an effect with all its figures."""
    value = drawn.gauss(0.0, 1.0)
    half = abs(drawn.gauss(0.0, 0.1))
    return make_effect(
        query=f"query {number % 100}",
        intervention=f"replace stage {number // 100} by=c1255484395b",
        kind="replace",
        stage=f"stage {number // 100}",
        value=value,
        low=value - half,
        high=value + half,
        spread=half / 2,
        resolution=half / 3,
        sampling_error=half / 4,
        population_low=value - 2 * half,
        population_high=value + 2 * half,
        p_value=drawn.random() ** 4,
        sd_order=half / 5,
        sd_rerun=half / 6,
        baselines={"checkpoint_delta": drawn.gauss(0.0, 1.0), "task_vector": drawn.random() * 1e-7},
    )


def signed_report(effects: int) -> Signed:
    """Return a signed report with that many effects."""
    drawn = random.Random(0)  # noqa: S311 - figures, not keys
    rows = tuple(full_effect(number, drawn) for number in range(effects))
    return make_signed(report=make_report(effects=rows))


def spent(work: Callable[[], object]) -> float:
    """Return the processor time of one call."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def command_seconds(signed: Signed, folder: Path) -> float:
    """Return the processor time of ``stageaudit verify`` as a process."""
    bundle, trust = folder / "report.json", folder / "trust.json"
    bundle.write_bytes(signed.bundle)
    trust.write_bytes(format_trust(signed.trust))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "service.cli.main", "verify", bundle, "--trust", trust]
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(signed: Signed, *, repeats: int) -> dict[str, Any]:
    """Return median processor times and their ratio; both sides are called in turn."""
    payload = base64.b64decode(json.loads(signed.bundle)["dsseEnvelope"]["payload"])
    verify, parse = [], []
    gc.collect()  # what making the report left behind
    gc.freeze()
    for _ in range(repeats):
        verify.append(spent(lambda: verify_bundle(signed.bundle, signed.trust, files={})))
        parse.append(spent(lambda: (json.loads(signed.bundle), json.loads(payload))))
    with tempfile.TemporaryDirectory() as folder:
        command = [command_seconds(signed, Path(folder)) for _ in range(max(1, repeats // 3))]
    return {
        "bundle_bytes": len(signed.bundle),
        "verify_cpu_seconds": round(statistics.median(verify), 3),
        "parse_cpu_seconds": round(statistics.median(parse), 3),
        "ratio": round(statistics.median(a / b for a, b in zip(verify, parse, strict=True)), 2),
        "command_cpu_seconds": round(statistics.median(command), 3),
    }


def main() -> None:
    """Print the figures; exit with 1 when verifying takes longer than the limit."""
    options = read_options(__doc__)
    results = measure(signed_report(EFFECTS), repeats=3 if options.quick else 15)
    facts = machine_facts()  # afterwards: it imports torch, which a reader's process does not
    kept = results["verify_cpu_seconds"] <= LIMIT_CPU_SECONDS
    results |= {"effects": EFFECTS, "bound": LIMIT_CPU_SECONDS, "within_bound": kept}
    publish("verify_speed", options=options, facts=facts, results=results)
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
