"""``stageaudit log estimate``: bytes, hours and memory of a recording, before the training."""

import mmap
from pathlib import Path
from typing import Annotated, Any

import typer

from auditor.errors import ArtifactMissingError, InputError
from service.cli.log_check import needs
from service.cli.output import JsonOption, console, emit

OPTIMIZERS = ("sgd", "momentum", "adam", "adamw")
DTYPE_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
BILLION = 10**9
MEGABYTE = 10**6
HOUR = 3600.0


def estimate(
    parameters: Annotated[
        str,
        typer.Option(
            metavar="N|FILE", help="Number of parameters (124e6), or a safetensors file of them."
        ),
    ],
    steps: Annotated[list[int], typer.Option(min=1, help="Steps of a stage (repeat for more).")],
    batch: Annotated[int, typer.Option(min=1, help="Examples of a step.")],
    examples: Annotated[int, typer.Option(min=1, help="Examples of each stage's dataset.")],
    example_bytes: Annotated[int, typer.Option(min=1, help="Bytes of one example, all columns.")],
    optimizer: Annotated[str, typer.Option(help="sgd, momentum, adam or adamw.")] = "adamw",
    trained: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Part of the parameters that is trained.")
    ] = 1.0,
    dtype: Annotated[str, typer.Option(help="Of the parameters, where a number is given.")] = (
        "float32"
    ),
    tensors: Annotated[int, typer.Option(min=1, help="Tensors, where a number is given.")] = 150,
    cadence: Annotated[
        int | None, typer.Option(min=1, help="Steps between further checkpoints.")
    ] = None,
    step_seconds: Annotated[
        float | None, typer.Option(min=0.0, help="Time of a training step, for hours.")
    ] = None,
    write_mb: Annotated[
        float, typer.Option(min=0.1, help="What the disk writes, in MB a second.")
    ] = 200.0,
    as_json: JsonOption = False,
) -> None:
    """Say how large a log will be, what recording it costs, and how long checking it takes."""
    try:
        from auditor.stagelog.size import StagePlan, StateSize, estimate_size
    except ImportError as error:
        raise needs("log", error, command="log estimate") from error
    _require_one_of("--optimizer", optimizer, OPTIMIZERS)
    _require_one_of("--dtype", dtype, tuple(DTYPE_BYTES))
    count, size = _parameters(parameters, dtype=dtype, tensors=tensors)
    state = StateSize(
        tensors=count,
        state_bytes=size,
        trained_bytes=round(trained * size),
        trained_tensors=max(1, round(trained * count)),
    )
    plans = [
        StagePlan(
            steps=own,
            examples_per_step=batch,
            optimizer=optimizer,
            examples=examples,
            example_bytes=example_bytes,
            cadence_steps=cadence,
        )
        for own in steps
    ]
    cost = estimate_size(
        state, plans, seconds_per_step=step_seconds, write_bytes_per_second=write_mb * MEGABYTE
    )
    result: dict[str, Any] = {
        "log_bytes": cost.log_bytes,
        "checkpoint_bytes": cost.checkpoint_bytes,
        "data_bytes": cost.data_bytes,
        "step_bytes": cost.step_bytes,
        "graph_bytes": cost.graph_bytes,
        "memory_bytes": cost.memory_bytes,
        "recording_hours": cost.recording_seconds / HOUR,
    }
    if cost.training_seconds is not None and cost.check_seconds is not None:
        result["training_hours"] = cost.training_seconds / HOUR
        result["check_hours"] = cost.check_seconds / HOUR
    emit(result, as_json=as_json, human=lambda: _tell(result))


def _parameters(text: str, *, dtype: str, tensors: int) -> tuple[int, int]:
    """Return number of tensors and bytes."""
    try:
        return tensors, round(float(text) * DTYPE_BYTES[dtype])
    except ValueError:
        pass
    path = Path(text)
    if not path.is_file():
        raise ArtifactMissingError(
            "--parameters",
            expected="a number of parameters or a safetensors file",
            found=text,
            remedy="Pass 124e6, or the path of a checkpoint.",
        )
    from auditor.stagelog.tensors import tensor_entries

    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as data,
    ):
        entries = tensor_entries(data, where=text)
    return len(entries), sum(entry.end - entry.begin for entry in entries.values())


def _require_one_of(where: str, found: str, known: tuple[str, ...]) -> None:
    if found not in known:
        raise InputError(
            where, expected=f"one of {', '.join(known)}", found=found, remedy="Correct the name."
        )


def _tell(result: dict[str, Any]) -> None:
    parts = (
        ("checkpoints", "checkpoint_bytes"), ("data", "data_bytes"),
        ("schedules and batches", "step_bytes"), ("graph and manifest", "graph_bytes"),
    )  # fmt: skip
    console.print(f"log     {_bytes(result['log_bytes'])}", markup=False)
    for label, name in parts:
        console.print(f"  {label}: {_bytes(result[name])}", markup=False)
    console.print(f"memory  {_bytes(result['memory_bytes'])} at most beside the training")
    console.print(f"hours   recording adds {result['recording_hours']:.2g} at most", markup=False)
    if "check_hours" in result:
        console.print(
            f"  of {result['training_hours']:.2g} of training; checking the log by replay takes "
            f"about {result['check_hours']:.2g}",
            markup=False,
        )


def _bytes(number: int) -> str:
    for unit, size in (("GB", BILLION), ("MB", MEGABYTE)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number / 1000:.1f} kB"
