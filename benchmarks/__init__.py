"""Ratios measured in one run on one machine; ``python -m benchmarks.<name> [--quick] [--json F]``.

Nothing here compares with a figure from another machine or another day: both sides of a ratio are
measured alternately in the same process, or between the same two processes.
"""
