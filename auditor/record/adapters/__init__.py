"""Record what training libraries train: each adapter translates to the recorder, no more.

Import from the modules: ``huggingface`` (and TRL), ``lightning``, ``accelerate``, ``distributed``,
``mlflow``, ``wandb``; each needs its own extra. ``rows`` makes any data loader say which examples
a batch holds.
"""
