"""Record a staged training from any torch loop; what it leaves behind is a stage log.

Import from the modules: :mod:`auditor.record.recorder` for training loops,
:mod:`auditor.record.evalset` for evaluation data, :mod:`auditor.record.export` for graphs.
"""
