"""Refuse skipped tests that no pattern of the allow list covers.

Usage: python .ci/check_skips.py PYTEST_XML ALLOWED
"""

import sys
import xml.etree.ElementTree as ET
from fnmatch import fnmatchcase
from pathlib import Path


def read_skips(report: Path) -> list[str]:
    """Return ``<test id>: <reason>`` of every skipped test of a JUnit report."""
    tree = ET.parse(report)  # noqa: S314 - pytest wrote it a moment ago
    skips = []
    for case in tree.iter("testcase"):
        for skipped in case.iter("skipped"):
            path = case.get("classname", "").replace(".", "/")
            test = f"{path}/{case.get('name', '')}".lstrip("/")
            skips.append(f"{test}: {skipped.get('message', '')}")
    return skips


def read_patterns(allowed: Path) -> list[str]:
    """Return the patterns of the allow list, without comments and empty lines."""
    lines = (line.strip() for line in allowed.read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def main(arguments: list[str]) -> int:
    """Print what was skipped; 1 if anything was that nobody agreed to."""
    report, allowed = (Path(argument) for argument in arguments)
    skips = read_skips(report)
    patterns = read_patterns(allowed)
    refused = [
        skip for skip in skips if not any(fnmatchcase(skip, pattern) for pattern in patterns)
    ]
    sys.stdout.write(f"{len(skips)} skipped, {len(refused)} of them not on {allowed}\n")
    for skip in refused:
        sys.stdout.write(f"  not allowed: {skip}\n")
    return 1 if refused else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
