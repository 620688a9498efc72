"""How often the kernel's out-of-memory killer struck in this container."""

from pathlib import Path

MEMORY_EVENTS = Path("/sys/fs/cgroup/memory.events")


def oom_kills(events: Path = MEMORY_EVENTS) -> int:
    """Return the control group's count of out-of-memory kills; 0 where there is no such count."""
    try:
        lines = events.read_text().splitlines()
    except OSError:
        return 0
    for line in lines:
        name, _, value = line.partition(" ")
        if name == "oom_kill" and value.isdigit():
            return int(value)
    return 0
