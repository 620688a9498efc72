"""Children that :mod:`service.child_process` starts in tests; what they do is in their job."""

import json
import os
import signal
import sys


def main() -> None:
    """Do what the job says."""
    job = json.loads(sys.stdin.readline())
    match job["do"]:
        case "answer":
            sys.stdout.write(json.dumps({"progress": "half"}) + "\n")
            sys.stdout.write(json.dumps({"ok": {"environment": dict(os.environ)}}) + "\n")
        case "hang":
            signal.pause()
        case "die":
            sys.stderr.write("the last words\n")
            os._exit(3)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "limit":
            sys.stdout.write(json.dumps({"limit": "memory"}) + "\n")
        case "error":
            failure = {"code": "INVALID_INPUT", "where": "w", "expected": "e", "found": "f"}
            sys.stdout.write(json.dumps({"error": {**failure, "remedy": "r"}}) + "\n")
