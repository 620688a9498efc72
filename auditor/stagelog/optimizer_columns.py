"""Which hyperparameters each optimizer has, by the names that schedules and requests use."""

SGD_COLUMNS = ("lr", "weight_decay", "momentum", "dampening")
ADAM_COLUMNS = ("lr", "weight_decay", "beta1", "beta2", "eps")

COLUMNS_OF = {"sgd": SGD_COLUMNS, "adam": ADAM_COLUMNS, "adamw": ADAM_COLUMNS}
"""Columns that a schedule of each optimizer must have."""

BELOW_ONE = frozenset({"beta1", "beta2"})
"""Hyperparameters that must stay below 1, or a moment would never be updated."""
