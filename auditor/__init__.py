"""Stage Auditor as a library: which training stage is responsible, how much, and how sure."""
