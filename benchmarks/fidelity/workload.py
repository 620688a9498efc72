"""What a workload is: data, stages, model, optimizer, queries; everything that determines a truth.

A workload is one file in :mod:`benchmarks.fidelity.workloads` with one function::

    def digits_sgd(seed: int, rerun: int | None = None) -> Workload: ...

- ``seed`` decides everything: which examples each stage gets, wrong labels, planted cues, initial
  values and batch orders.
- ``rerun`` (0, 1, ... for E3) gives the same data with other initial values and other batch orders
  in *every* stage; None is the run that is recorded and audited. Draw data from
  ``generator_for("data", seed)``, orders from ``generator_for("order", seed, rerun, stage)`` and
  initial values with ``seeded(build, "init", seed, rerun)``.

Then add one line to the table in ``workloads/__init__.py``. ``truth`` retrains it, ``recording``
records it, ``estimates`` audits it; none of them needs to know what it is about. Sizes: all of the
truth (:mod:`benchmarks.fidelity.truth`) of one seed should cost at most about 90 s on one core.

Interventions follow from the workload: every stage is skipped, every stage's data is replaced by
``reference`` (in shuffled epochs, at equal steps), and what ``drops`` lists is dropped (batches
refilled from the rest of the stage). Rules:

- Columns are tensors [N, ...] or tuples of N texts. All stages, the reference and every
  evaluation set have the columns that ``inputs`` and ``target`` name; evaluation sets have
  ``id`` (int64), by which a probe's two sets are aligned.
- ``loss`` is what the recorder is told (a name or an ``auditor.stagelog.log.Loss``),
  ``mean_loss`` the same in plain torch; ``Query.kind`` is what the audit is asked, ``Query.values``
  the same in plain torch. The harness checks that both agree where nothing is estimated: exact
  retraining by the library must reproduce the truth.
- No dropout, no randomness in forward passes. A model with batch norm works if the library can
  record it.
- Every step of a stage uses the same number of examples.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from auditor.stagelog.log import Loss

Columns = Mapping[str, Tensor | tuple[str, ...]]
"""Examples as columns of the same length N: tensors [N, ...] or N texts."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Consecutive updates on one dataset.

    Attributes:
        name: Name in the log.
        columns: All examples of the stage; a text column ``source`` says where they are from.
        batches: Rows of every step, int64 [steps, B].
        learning_rates: Of every step, float64 [steps]; written into all parameter groups.
        optimizer: What happens at the stage's start: ``reset`` makes a new optimizer, ``keep`` goes
            on with the optimizer of the stage before, momentum and moments included.
        kind: Kind in the log: pretrain, finetune, adapt, align or other.
    """

    name: str
    columns: Columns
    batches: Tensor
    learning_rates: Tensor
    optimizer: Literal["reset", "keep"] = "reset"
    kind: str = "other"

    @property
    def steps(self) -> int:
        """Number of updates."""
        return len(self.batches)

    @property
    def examples(self) -> int:
        """Number of examples the stage can use."""
        return rows_of(self.columns)


@dataclass(frozen=True, kw_only=True)
class Query:
    """A question about the final model, with one value per evaluation example.

    Attributes:
        name: What the table calls it.
        kind: What the audit is asked: a member of ``auditor.effects.QueryKind``.
        values: The same in plain torch: (output [N, ...], target [N, ...]) -> [N].
        columns: The evaluation set; of a probe, the treated one.
        control: Of a probe, the same examples (``id``) untreated; the value is treated minus
            control, example by example.
        better: Which direction is good.
        class_: Class of a margin, logit or probability; None is each example's target.
    """

    name: str
    kind: str
    values: Callable[[Tensor, Tensor], Tensor]
    columns: Columns
    control: Columns | None = None
    better: Literal["lower", "higher"] = "lower"
    class_: int | None = None


@dataclass(frozen=True, kw_only=True)
class Drop:
    """Examples of a stage that a ``drop`` takes out: those whose text column has this value."""

    stage: str
    value: str
    column: str = "source"


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A training in stages and what is asked about it.

    Attributes:
        name: Name in the registry and in every row.
        seed: What it was made from.
        build: Makes the model with its initial values; the same at every call, on the CPU, float32.
        make_optimizer: Makes a stage's optimizer of the model's parameters; its learning rate is
            overwritten at every step.
        stages: In order; the first one's ``optimizer`` is ``reset``.
        reference: Clean examples that no stage saw and no query uses.
        queries: Asked of the final model.
        drops: Sources to drop.
        inputs: Argument of ``forward`` -> column, in order.
        target: Column of the loss's target.
        loss: The loss as the recorder knows it.
        mean_loss: The loss in plain torch: (output, target) -> mean over the examples.
    """

    name: str
    seed: int
    build: Callable[[], nn.Module]
    make_optimizer: Callable[[nn.Module, Stage], Optimizer]
    stages: tuple[Stage, ...]
    reference: Columns
    queries: tuple[Query, ...]
    drops: tuple[Drop, ...] = ()
    inputs: Mapping[str, str]
    target: str = "label"
    loss: str | Loss = "cross_entropy"
    mean_loss: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy

    def stage_index(self, name: str) -> int:
        """Return the position of a stage."""
        return [stage.name for stage in self.stages].index(name)


def rows_of(columns: Columns) -> int:
    """Return N."""
    return len(next(iter(columns.values())))


def select(columns: Columns, rows: Tensor) -> dict[str, Tensor | tuple[str, ...]]:
    """Return the examples at ``rows`` [M]."""
    return {
        name: values[rows]
        if isinstance(values, Tensor)
        else tuple(values[row] for row in rows.tolist())
        for name, values in columns.items()
    }


def generator_for(*parts: str | int | None) -> Generator:
    """Return a generator that is a function of its parts only: purpose, seed, rerun, stage."""
    text = "\x1f".join(map(str, parts))
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little", signed=True)
    return torch.Generator().manual_seed(number)


def epochs(examples: int, *, steps: int, batch: int, generator: Generator) -> Tensor:
    """Return rows of every step, [steps, batch]: shuffled epochs, one after the other.

    The same rule for recorded orders, the other orders of E2 and the reruns of E3.
    """
    needed = steps * batch
    count = -(-needed // examples)
    rows = [torch.randperm(examples, generator=generator) for _ in range(count)]
    return torch.cat(rows)[:needed].reshape(steps, batch)


def constant(rate: float, steps: int) -> Tensor:
    """Return one learning rate for every step, [steps]."""
    return torch.full((steps,), rate, dtype=torch.float64)


def warmed_up(rate: float, steps: int, *, over: int) -> Tensor:
    """Return a learning rate that rises linearly over the first steps, then stays, [steps]."""
    return rate * ((torch.arange(steps, dtype=torch.float64) + 1) / over).clamp(max=1)


def seeded(build: Callable[[], nn.Module], *parts: str | int | None) -> Callable[[], nn.Module]:
    """Return a builder that gives the same initial values at every call: torch's own, seeded."""
    number = generator_for(*parts).initial_seed() % 2**63

    def model() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(number)
            return build()

    return model


def loss_query(columns: Columns, *, name: str = "loss") -> Query:
    """Return the cross entropy of the target of every held-out example, in nats."""
    return Query(
        name=name,
        kind="loss",
        values=lambda output, target: functional.cross_entropy(output, target, reduction="none"),
        columns=columns,
    )


def cue_probe(treated: Columns, control: Columns, *, class_: int, name: str = "cue") -> Query:
    """Return how far a cue moves the probability of its class, on every example."""

    def probability(output: Tensor, _target: Tensor) -> Tensor:
        return output.softmax(dim=-1)[:, class_]

    return Query(
        name=name,
        kind="probability",
        values=probability,
        columns=treated,
        control=control,
        class_=class_,
    )
