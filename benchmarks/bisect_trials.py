"""Does ``bisect`` name the change that made a release worse, and nothing where nothing was changed?

Two releases of a pipeline of four stages on scikit-learn's digits are trained in plain torch and
recorded. Each has initial values, examples and batch orders of its own: what a rerun with new data
of the same kind would have. In half of the trials one stage of release B is changed as well: a part
of its labels is false, its learning rate is a tenth, or its images lack half of the classes. Found
means that the changed stage and the right part of it are named; a trial without a change is right
when nothing is named. The question is the loss on held-out digits.
"""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from sklearn.datasets import load_digits
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy

from auditor.audit.bisect import bisect
from auditor.audit.bisect_finding import BisectFinding, BisectRequest
from auditor.edge.folder import BLOBS_FOLDER, FolderBlobs, read_log
from auditor.edge.layered import LayeredBlobs
from auditor.edge.result_index import FolderIndex
from auditor.effects import Better, Query, QueryKind
from auditor.plan.settings import BISECT_DRAWS, BISECT_SHARE, DEFAULT_CONFIDENCE
from auditor.record.evalset import write_evaluation_set
from auditor.record.export import export_graph
from auditor.record.recorder import Recorder
from auditor.stagelog.digest import Digest, canonical_bytes
from benchmarks.measuring import machine_facts, publish, read_options, seconds_of

STAGES: Final = ("base", "domain", "vendor", "polish")
STEPS: Final = 24
BATCH: Final = 32
EXAMPLES: Final = 180  # of a stage and release, disjoint: 4.3 epochs
HELD_OUT: Final = 357
RATE: Final = 0.02
FALSE_LABELS: Final = 0.5
CLASSES: Final = 10
CHANGES: Final = {"labels": "data", "rate": "settings", "classes": "data"}
"""What is planted, and the part of the stage that bisect has to name."""


@dataclass(frozen=True, kw_only=True)
class Planted:
    """What makes release B worse."""

    stage: str
    change: str


@dataclass(frozen=True, kw_only=True)
class StageData:
    """Examples of a stage as they are trained on."""

    image: Tensor
    label: Tensor


_exported: dict[str, bytes] = {}


def export_once(
    module: nn.Module, example_inputs: tuple[Tensor, ...], *, input_names: Sequence[str]
) -> bytes:
    """Export the one architecture of all trials once; an export takes a second."""
    if "graph" not in _exported:
        _exported["graph"] = export_graph(module, example_inputs, input_names=input_names)
    return _exported["graph"]


def network(generator: Generator) -> nn.Sequential:
    """Return a 64-32-10 network with uniform initial values."""
    model = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, CLASSES))
    with torch.no_grad():
        for layer in (model[0], model[2]):
            assert isinstance(layer, nn.Linear)
            bound = layer.in_features**-0.5
            layer.weight.uniform_(-bound, bound, generator=generator)
            layer.bias.uniform_(-bound, bound, generator=generator)
    return model


def stage_data(
    image: Tensor, label: Tensor, *, change: str | None, generator: Generator
) -> StageData:
    """Return the first examples of a stage's share of the digits, changed as planted."""
    if change == "classes":
        image, label = image[label < CLASSES // 2], label[label < CLASSES // 2]
    image, label = image[:EXAMPLES], label[:EXAMPLES].clone()
    if change == "labels":
        wrong = torch.rand(len(label), generator=generator) < FALSE_LABELS
        label[wrong] = (label[wrong] + 1) % CLASSES
    return StageData(image=image, label=label)


def record(
    folder: Path, stages: Mapping[str, StageData], *, planted: Planted | None, generator: Generator
) -> Digest:
    """Train a release and record it."""
    model = network(generator)
    recorder = Recorder(folder, model, run_name="release", export=export_once)
    for name, data in stages.items():
        dataset = recorder.dataset(name, {"image": data.image, "label": data.label})
        slower = planted is not None and (planted.stage, planted.change) == (name, "rate")
        optimizer = torch.optim.SGD(
            model.parameters(), lr=RATE / 10 if slower else RATE, momentum=0.9
        )
        count = len(data.label)
        rows = torch.cat([
            torch.randperm(count, generator=generator) for _ in range(-(-STEPS * BATCH // count))
        ])[: STEPS * BATCH].reshape(STEPS, BATCH)
        with recorder.stage(
            name,
            optimizer=optimizer,
            loss="cross_entropy",
            inputs={"image": "image"},
            target="label",
            self_check="off",
        ) as stage:
            for batch in rows.unbind():
                stage.batch(dataset, batch)
                optimizer.zero_grad()
                cross_entropy(model(data.image[batch]), data.label[batch]).backward()
                optimizer.step()
    return read_log(folder)[1]


def trial(root: Path, *, seed: int, planted: Planted | None) -> BisectFinding:
    """Train both releases of a trial and bisect them."""
    generator = Generator().manual_seed(seed)
    digits = load_digits()
    image = torch.tensor(digits.data, dtype=torch.float32) / 16
    label = torch.tensor(digits.target)
    mixed = torch.randperm(len(label), generator=generator)
    image, label = image[mixed], label[mixed]
    blobs = LayeredBlobs(FolderBlobs(root / "results"))
    heldout = {"image": image[:HELD_OUT], "label": label[:HELD_OUT]}
    query = Query(
        name="held-out loss",
        kind=QueryKind.LOSS,
        better=Better.LOWER,
        data=write_evaluation_set("held-out", heldout, blobs),
    )
    # A stage of a release owns every eighth example; a changed one may take from all that is left.
    rest = torch.arange(HELD_OUT, len(label)).reshape(len(STAGES), 2, -1)
    logs = []
    for release in (0, 1):
        changed = planted if release == 1 else None
        stages = {}
        for number, name in enumerate(STAGES):
            change = changed.change if changed is not None and changed.stage == name else None
            own = rest[number, release] if change != "classes" else rest[:, release].flatten()
            stages[name] = stage_data(image[own], label[own], change=change, generator=generator)
        folder = root / f"release{release}"
        logs.append(record(folder, stages, planted=changed, generator=generator))
        blobs.add(FolderBlobs(folder / BLOBS_FOLDER))
        blobs.write(canonical_bytes(read_log(folder)[0]))
    request = BisectRequest(
        a=logs[0],
        b=logs[1],
        queries=(query,),
        share=BISECT_SHARE,
        confidence=DEFAULT_CONFIDENCE,
        draws=BISECT_DRAWS,
    )
    return bisect(request, blobs=blobs, index=FolderIndex(root / "index"), device="cpu")


def outcome(finding: BisectFinding, planted: Planted | None, *, seed: int) -> dict[str, Any]:
    """Return one row of the result: what was planted, what was named, and whether that is right."""
    (query,) = finding.queries
    named = None if query.cause is None else query.explanations[query.cause]
    wanted = None if planted is None else (planted.stage, CHANGES[planted.change])
    found = None if named is None else (named.stage, str(named.part))
    return {
        "seed": seed,
        "planted": None if planted is None else f"{planted.change} in {planted.stage}",
        "named": None if named is None else f"{named.part} of {named.stage}",
        "right": found == wanted,
        "gap": round(query.gap, 4),
        "gap_noise": round(query.gap_noise, 4),
        "explanations": {
            f"{one.part} of {one.stage}": {
                "explained": round(one.explained, 4),
                "noise": None if one.noise is None else round(one.noise, 4),
                "verdict": one.verdict,
            }
            for one in query.explanations
        },
    }


def plans(count: int) -> list[Planted]:
    """Return what is planted in each trial: every change in every stage, in turn."""
    kinds = tuple(CHANGES)
    return [
        Planted(stage=STAGES[i % len(STAGES)], change=kinds[i % len(kinds)]) for i in range(count)
    ]


def main() -> int:
    """Run the trials; 1 when fewer than 19 of 20 are right, or all of a quick run."""
    options = read_options(__doc__)
    torch.set_num_threads(1)
    facts = machine_facts()
    count = 3 if options.quick else 20
    rows: dict[str, list[dict[str, Any]]] = {"planted": [], "unchanged": []}

    def run(seed: int, planted: Planted | None) -> None:
        with tempfile.TemporaryDirectory() as folder:
            finding = trial(Path(folder), seed=seed, planted=planted)
        row = outcome(finding, planted, seed=seed)
        rows["unchanged" if planted is None else "planted"].append(row)
        print(f"{seed}: {row['planted']} -> {row['named']}", file=sys.stderr)

    def run_all() -> None:
        for seed, planted in enumerate(plans(count)):
            run(seed, planted)
            run(1000 + seed, None)

    seconds = seconds_of(run_all)
    right = {name: sum(row["right"] for row in found) for name, found in rows.items()}
    publish(
        "bisect_trials",
        options=options,
        facts=facts,
        results={
            "trials": count,
            "right": right,
            "seconds": round(seconds, 1),
            "share": BISECT_SHARE,
            "confidence": DEFAULT_CONFIDENCE,
            "draws": BISECT_DRAWS,
            "rows": rows,
        },
    )
    return 0 if min(right.values()) >= 0.95 * count else 1


if __name__ == "__main__":
    sys.exit(main())
