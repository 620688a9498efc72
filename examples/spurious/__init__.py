"""What the two examples of spurious correlations share: the pipeline, the audit, the repair."""
