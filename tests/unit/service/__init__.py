"""Tests of the service's modules, without a server."""
