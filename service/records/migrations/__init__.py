"""Schema migrations, applied when the server starts (see service.records.migrate)."""
