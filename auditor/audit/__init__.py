"""From a request to a report: planning (no torch), execution, and both in one process."""
