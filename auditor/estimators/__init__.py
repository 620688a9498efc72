"""Estimators: which actions a question needs, and what their results say; no torch here.

The numerical work is in actions (``auditor.dynamics``); an estimator is the plan of those actions
and the arithmetic on their results, so the service can plan without loading torch.
"""
