"""The stage log: what a training run leaves behind so that its stages can be held to account."""
