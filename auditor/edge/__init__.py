"""Where the pure library meets the machine: folders and the clock."""
