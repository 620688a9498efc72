"""Tests across modules, processes and programs."""
