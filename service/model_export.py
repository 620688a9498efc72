"""Export a Hugging Face folder in a child process, offline."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from auditor.record.exported_model import ExportedModel, read_exported_model
from service.child_process import run_job

LIMIT_SECONDS = 3600.0


def export_folder(
    folder: Path, out: Path, *, length: int, on_progress: Callable[[str], None] = lambda _: None
) -> ExportedModel:
    """Return the exported form of a model folder, written to ``out``.

    Args:
        folder: What ``save_pretrained`` wrote.
        out: Receives graph, weights, names and reference outputs.
        length: Tokens of every example.
        on_progress: Told what is being done.

    Raises:
        AuditorError: What :func:`auditor.record.hf_model.export_hf_model` refuses.
    """
    with TemporaryDirectory(prefix="stageaudit-export-") as home:
        run_job(
            "service.export_child",
            {"folder": str(folder.resolve()), "out": str(out.resolve()), "length": length},
            what=f"export of {folder.name}",
            seconds=LIMIT_SECONDS,
            environment={
                "HF_HUB_OFFLINE": "1",
                "HF_HUB_DISABLE_TELEMETRY": "1",
                "HF_HOME": home,
                "HOME": home,
                "TOKENIZERS_PARALLELISM": "false",
            },
            on_progress=on_progress,
        )
    return read_exported_model(out)[0]
