"""``stageaudit export``: the ONNX graph of a model with the flags that an audit needs."""

from pathlib import Path
from typing import Annotated

import typer

from auditor.checks import needs_extra
from service.cli.output import JsonOption, console, emit, notice

LengthOption = Annotated[
    int | None,
    typer.Option(min=4, help="Tokens of every example; default: the model's most, at most 512."),
]


def export(
    hf: Annotated[
        Path,
        typer.Option(
            "--hf",
            metavar="DIR",
            help="A Hugging Face model folder on this machine.",
            exists=True,
            file_okay=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="Receives the exported model."),
    ],
    length: LengthOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a model as an audit needs it: graph, names, weights, reference outputs.

    `stageaudit export --hf checkpoints/final -o exported --length 128` loads the model with eager
    attention in evaluation mode, exports it with dynamo=True and optimize=False, and compares the
    graph's outputs with torch's own. Code that the folder brings along is never run.

    The folder then holds graph.onnx without weights, model.json, reference.safetensors and
    model.safetensors, which is what `stageaudit audit --model` takes.
    """
    with needs_extra("record", purpose="Exporting a model"):
        from service.model_export import TOLERANCE, export_folder
    model, tokens = export_folder(
        hf, output, length=length, on_progress=lambda text: None if as_json else notice(text)
    )

    def human() -> None:
        console.print(f"{model.architecture}, {len(model.order)} parameters", markup=False)
        shape = "" if tokens is None else f" [batch, {tokens}]"
        console.print(f"inputs     {', '.join(model.inputs)}{shape}", markup=False)
        console.print(f"graph      {model.graph}", markup=False)
        console.print(
            f"outputs    within {model.deviation:.1e} of torch's (tolerance {TOLERANCE:.0e})",
            markup=False,
        )
        console.print(f"written to {output}", markup=False)

    emit(
        {
            "architecture": model.architecture,
            "task": model.task,
            "inputs": list(model.inputs),
            "length": tokens,
            "parameters": len(model.order),
            "graph": model.graph,
            "deviation": model.deviation,
            "folder": str(output),
        },
        as_json=as_json,
        human=human,
    )
