"""Generated from proto/stageaudit/v1 by proto/generate.py; never edited."""
