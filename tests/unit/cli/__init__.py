"""Tests of the commands, without a server."""
