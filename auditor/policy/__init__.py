"""Policies: rules over a report, judged as pass, fail or investigate; no torch, no clock."""
