"""The tests; a package, so that no other ``tests`` can stand in for it."""
