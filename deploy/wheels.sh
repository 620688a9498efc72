#!/usr/bin/env bash
# Fill deploy/wheels with the project's wheel, all its dependencies and requirements.txt with their
# hashes, for the Dockerfile. Run it with the Python version and platform of the image.
#
#   EXTRA=demo deploy/wheels.sh      with scikit-learn, so that `stageaudit demo` runs inside
#   PIP_FLAGS='--constraint pins.txt --extra-index-url ...' deploy/wheels.sh
#
# Which torch comes (CPU or CUDA) is pip's choice, and yours by PIP_FLAGS.
set -euo pipefail
cd "$(dirname "$0")/.."

extra=${EXTRA:-server}
wheels=deploy/wheels
python=${PYTHON:-.venv/bin/python}
command -v "$python" >/dev/null || python=python3

rm -rf "$wheels"
mkdir -p "$wheels"
# shellcheck disable=SC2086 # PIP_FLAGS holds several words
"$python" -m pip wheel --quiet --wheel-dir "$wheels" ${PIP_FLAGS:-} ".[${extra}]"

"$python" - "$wheels" <<'PYTHON'
import hashlib
import sys
from pathlib import Path

folder = Path(sys.argv[1])
lines = []
for wheel in sorted(folder.glob("*.whl")):
    name, version = wheel.name.split("-")[:2]
    with wheel.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    lines.append(f"{name}=={version} --hash=sha256:{digest}\n")
(folder / "requirements.txt").write_text("".join(lines))
size = sum(wheel.stat().st_size for wheel in folder.glob("*.whl"))
print(f"{len(lines)} wheels, {size / 2**20:.0f} MiB, hashes in {folder / 'requirements.txt'}")
PYTHON
