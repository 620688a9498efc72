"""Generate ``service/pb/v1`` from ``proto/stageaudit/v1``; run as ``python -P proto/generate.py``.

``--check`` regenerates into a temporary folder and names what is stale (exit 1). ``--image PATH``
writes a descriptor image for buf, which then needs neither vendored imports nor a network.
"""

import argparse
import re
import shutil
import sys
import tempfile
from pathlib import Path

import google.longrunning
import grpc_tools
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "proto"
OUTPUT = ROOT / "service" / "pb"
INIT = '"""Generated from proto/stageaudit/v1 by proto/generate.py; never edited."""\n'


def include_paths(scratch: Path) -> list[str]:
    """Return protoc's include options: ours, those of the wheels, those of protobuf."""
    wheel = Path(next(iter(google.longrunning.__path__)))
    # The wheel names the file operations_proto.proto, everybody imports operations.proto.
    copy = scratch / "google" / "longrunning" / "operations.proto"
    copy.parent.mkdir(parents=True)
    shutil.copy(wheel / "operations_proto.proto", copy)
    core = Path(grpc_tools.__file__).parent / "_proto"
    return [f"-I{path}" for path in (SOURCES, scratch, wheel.parent.parent, core)]


def plugin(kind: str) -> Path:
    """Return a plugin's program, which is installed beside the interpreter."""
    return Path(sys.executable).parent / f"protoc-gen-{kind}"


def run_protoc(arguments: list[str]) -> None:
    """Run protoc on every source, the names relative to their include path."""
    files = sorted(str(p.relative_to(SOURCES)) for p in SOURCES.glob("stageaudit/v1/*.proto"))
    if protoc.main(["protoc", *arguments, *files]) != 0:
        sys.exit("protoc failed")


def generate(output: Path) -> None:
    """Write the package ``v1`` below ``output``."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        raw = scratch / "raw"
        raw.mkdir()
        kinds = ("python", "grpc_python", "mypy", "mypy_grpc")
        run_protoc([
            *include_paths(scratch / "include"),
            *(f"--plugin=protoc-gen-{kind}={plugin(kind)}" for kind in ("mypy", "mypy_grpc")),
            *(f"--{kind}_out={raw}" for kind in kinds),
        ])
        target = output / "v1"
        target.mkdir(parents=True, exist_ok=True)
        for path in sorted((raw / "stageaudit" / "v1").iterdir()):
            text = relative_imports(path.read_text())
            # A file without services has an empty gRPC half.
            if "_grpc" in path.name and not path.name.startswith(services()):
                continue
            (target / path.name).write_text(text)
        (target / "__init__.py").write_text(INIT)
        (output / "__init__.py").write_text('"""Generated wire types, one package a version."""\n')


def services() -> tuple[str, ...]:
    """Return the module prefixes of the sources that declare services."""
    return tuple(path.stem for path in SOURCES.glob("stageaudit/v1/*_service.proto"))


def relative_imports(text: str) -> str:
    """Import siblings from the package, wherever it is installed."""
    text = re.sub(r"^from stageaudit\.v1 import", "from . import", text, flags=re.MULTILINE)
    text = re.sub(r"^import stageaudit\.v1\.(\w+)$", r"from . import \1", text, flags=re.MULTILINE)
    return re.sub(r"\bstageaudit\.v1\.(\w+_pb2)\b", r"\1", text)


def write_image(path: Path) -> None:
    """Write a descriptor set with imports and comments."""
    with tempfile.TemporaryDirectory() as folder:
        run_protoc([
            *include_paths(Path(folder) / "include"),
            "--include_imports",
            "--include_source_info",
            f"--descriptor_set_out={path}",
        ])


def stale_files(fresh: Path) -> list[str]:
    """Return the names that differ between ``fresh`` and the committed output."""
    names = {
        str(p.relative_to(root)) for root in (fresh, OUTPUT) for p in root.rglob("*.py*")
        if "__pycache__" not in p.parts
    }  # fmt: skip

    def content(path: Path) -> bytes | None:
        return path.read_bytes() if path.exists() else None

    return sorted(name for name in names if content(fresh / name) != content(OUTPUT / name))


def main() -> None:
    """Read the command line and do one of the three."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    parser.add_argument("--image", type=Path, help="write a descriptor image for buf here")
    arguments = parser.parse_args()
    if arguments.image is not None:
        write_image(arguments.image)
    elif arguments.check:
        with tempfile.TemporaryDirectory() as folder:
            generate(Path(folder))
            stale = stale_files(Path(folder))
        if stale:
            sys.exit("stale, run `python -P proto/generate.py`: " + ", ".join(stale))
    else:
        generate(OUTPUT)


if __name__ == "__main__":
    main()
