"""The export child: loads a Hugging Face folder and writes its exported form.

Started by :mod:`service.model_export` as a program of its own, so that transformers is loaded
outside of the command line, without a network and without the user's settings.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from auditor.errors import AuditorError
from auditor.record.hf_model import export_hf_model
from service.failures import failure_of

Plain = dict[str, Any]


def main() -> None:
    """Read the job from stdin; say progress and the answer on stdout, a JSON line each."""
    # Whatever a library prints must not look like an answer.
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)

        def say(plain: Plain) -> None:
            answers.write(json.dumps(plain) + "\n")
            answers.flush()

        job = json.loads(sys.stdin.readline())
        try:
            export_hf_model(
                Path(job["folder"]),
                Path(job["out"]),
                length=job["length"],
                on_progress=lambda text: say({"progress": text}),
            )
        except AuditorError as error:
            say({"error": failure_of(error).to_plain()})
        except MemoryError:
            say({"limit": "memory"})
        else:
            say({"ok": {}})
