"""The judge of every estimator: its effects beside those of training again, in plain eager torch.

Usage: python -m benchmarks.fidelity [--quick] [--workload W] [--seeds 0,1,2] [--json F]

Nothing that computes the truth comes from the library: models are ``torch.nn``, updates are
``torch.optim``, queries are written out here. Only the rows that ``replace`` and ``drop`` draw for
the recorded run are the library's, because they are a rule of the request and not a result.
"""
