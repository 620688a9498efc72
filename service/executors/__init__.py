"""Where actions run: one worker process per device."""
