"""What the service remembers, in a database; the only package that knows SQL."""
