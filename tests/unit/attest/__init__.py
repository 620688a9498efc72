"""Tests of signing and verifying."""
