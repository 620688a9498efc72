"""The report: figures, what was not computed, and what they do not say."""
