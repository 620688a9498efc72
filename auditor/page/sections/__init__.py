"""The sections of a page, one a module: from a report to what its template shows."""
