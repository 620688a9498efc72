"""The model as a pure function: hostile-input-safe import, parameters, losses, queries."""
