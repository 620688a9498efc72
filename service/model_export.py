"""Export a Hugging Face folder in a child process, offline."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from auditor.record.exported_model import TOLERANCE, ExportedModel, read_exported_model
from auditor.record.hf_config import default_length, read_hf_config
from service.child_process import run_job

LIMIT_SECONDS = 3600.0


def export_folder(
    folder: Path,
    out: Path,
    *,
    length: int | None,
    on_progress: Callable[[str], None] = lambda _: None,
) -> tuple[ExportedModel, int | None]:
    """Return the exported form of a model folder, written to ``out``, and tokens of an example.

    A model of images has no tokens.

    Args:
        folder: What ``save_pretrained`` wrote.
        out: Receives graph, weights, names and reference outputs.
        length: Tokens of every example; None for the model's most, at most 512.
        on_progress: Told what is being done.

    Raises:
        AuditorError: What :func:`auditor.record.hf_model.export_hf_model` refuses.
    """
    config = read_hf_config(folder)
    tokens = length or default_length(config)
    with TemporaryDirectory(prefix="stageaudit-export-") as home:
        run_job(
            "service.export_child",
            {"folder": str(folder.resolve()), "out": str(out.resolve()), "length": tokens},
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
    return read_exported_model(out)[0], None if config.takes_images else tokens


__all__ = ["TOLERANCE", "export_folder"]
