"""Train, audit, repair, and write the pages of both reports and pictures of them.

Nothing is invented: the training is real, and every figure is computed by an audit.

Run from the repository: python -m examples.report_page --keep build/report_page [--pictures DIR]
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from examples.report_page.pictures import take_pictures
from examples.report_page.training import train

REQUEST = Path(__file__).with_name("request.yaml")


def main() -> int:
    """Do it all and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, required=True, help="folder for all that is made")
    parser.add_argument("--pictures", type=Path, help="take pictures and write them here")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder: Path = options.keep
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "report.json").exists():
        _make_reports(folder, seed=options.seed)
    for name, bundle in {"report": "report.json", "repair": "repaired/repair.json"}.items():
        _stageaudit(folder, "report", "html", bundle, "-o", f"{name}.html")
    if options.pictures is not None:
        take_pictures(folder, options.pictures)
    return 0


def _make_reports(folder: Path, *, seed: int) -> None:
    train(folder, seed=seed)
    shutil.copy(REQUEST, folder / "request.yaml")
    _stageaudit(folder, "keys", "init", "--name", "Model team")
    _stageaudit(folder, "audit", "request.yaml", "--local", "log", "-o", "report.json")
    _stageaudit(
        folder, "repair", "log", "--request", "request.yaml", "--replace", "vendor=clean-digits",
        "--until", "corner cue < 1", "--out", "repaired", "--local",
    )  # fmt: skip


def _stageaudit(folder: Path, *arguments: str) -> None:
    """Run the command line with a home of its own, so that nobody's keys are touched."""
    home = {
        f"XDG_{kind}_HOME": str(folder.resolve() / "home") for kind in ("CONFIG", "CACHE", "DATA")
    }
    subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "service.cli.main", *arguments],
        cwd=folder,
        env=os.environ | home,
        check=True,
    )


if __name__ == "__main__":
    raise SystemExit(main())
