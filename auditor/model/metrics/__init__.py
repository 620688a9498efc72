"""Metrics of a whole evaluation set, each with its value when one example is left out."""
