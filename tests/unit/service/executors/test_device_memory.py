"""What a worker may use and what it used, from the kernel's tables."""

from pathlib import Path

from service.executors.device_memory import SHARE, ProcessMemory

KB = 1024


def machine(root: Path, *, available: int, limit: str = "max", used: int = 0) -> ProcessMemory:
    (root / "self").mkdir()
    (root / "meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable: {available} kB\n")
    (root / "memory.max").write_text(limit + "\n")
    (root / "memory.current").write_text(f"{used}\n")
    return ProcessMemory(proc=root, cgroup=root)


def test_workers_share_what_is_available(tmp_path: Path) -> None:
    memory = machine(tmp_path, available=1000)

    assert memory.budget_bytes(workers=2) == int(SHARE * 1000 * KB / 2)


def test_the_control_group_bounds_what_is_available(tmp_path: Path) -> None:
    memory = machine(tmp_path, available=1000, limit=str(700 * KB), used=200 * KB)

    assert memory.budget_bytes(workers=1) == int(SHARE * 500 * KB)


def test_a_machine_that_does_not_say_has_no_budget(tmp_path: Path) -> None:
    memory = ProcessMemory(proc=tmp_path / "none", cgroup=tmp_path)
    memory.begin()

    assert memory.budget_bytes(workers=1) is None
    assert memory.peak_bytes() is None


def test_a_group_needs_what_the_resident_set_grew_by_at_most(tmp_path: Path) -> None:
    memory = machine(tmp_path, available=1000)
    status = tmp_path / "self/status"
    status.write_text("VmHWM: 900 kB\nVmRSS: 300 kB\n")
    memory.begin()
    status.write_text("VmHWM: 750 kB\nVmRSS: 310 kB\n")

    assert memory.peak_bytes() == 450 * KB
    assert (tmp_path / "self/clear_refs").read_text() == "5"


def test_this_process_grows_by_what_it_touches() -> None:
    memory = ProcessMemory()
    memory.begin()
    held = b"x" * (32 * 2**20)

    grown = memory.peak_bytes()

    assert grown is None or grown > len(held) // 2
