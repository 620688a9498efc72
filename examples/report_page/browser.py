"""Look at pages in headless Chromium: needs node, chromium, and two npm packages in ``.tools``.

``npm install --prefix .tools --no-save axe-core@4.14.1 playwright-core@1.65.1``
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / ".tools" / "node_modules"
SCRIPT = Path(__file__).with_name("browser.cjs")
PROGRAMS = ("chromium", "node")
PACKAGES = ("axe-core", "playwright-core")


def missing() -> str:
    """Return what a browser test lacks here, or nothing."""
    programs = [name for name in PROGRAMS if shutil.which(name) is None]
    packages = [name for name in PACKAGES if not (MODULES / name).is_dir()]
    return ", ".join([*programs, *(f"npm package {name}" for name in packages)])


def look(views: Sequence[Mapping[str, Any]], *, seconds: float = 240) -> list[dict[str, Any]]:
    """Open every view and return what was found in it.

    Args:
        views: ``url``, ``width``, ``height``, ``scheme`` (light or dark), and what to do: ``axe``,
            ``open`` all details, ``picture`` (of the ``whole`` page or of an ``anchor``), ``pdf``.
        seconds: All of it is stopped after this long.

    Raises:
        RuntimeError: If the browser says that something went wrong.
    """
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder) / "plan.json"
        plan.write_text(json.dumps(list(views)))
        done = subprocess.run(  # noqa: S603 - our own script
            [str(shutil.which("node")), SCRIPT, MODULES, str(shutil.which("chromium")), plan],
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]
