"""How a computation says that memory ran out; no torch here."""

from auditor.errors import ResourceError


def is_out_of_memory(error: Exception) -> bool:
    """Say whether an error means that memory ran out: Python's, CUDA's or the CPU allocator's."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "allocate memory" in str(error)
    )


def out_of_memory(error: Exception) -> ResourceError:
    """Return the typed error for one that means that memory ran out."""
    return ResourceError(
        "device memory",
        expected="a group that fits",
        found=type(error).__name__,
        remedy="Audit fewer interventions at once, or use a device with more memory.",
    )
