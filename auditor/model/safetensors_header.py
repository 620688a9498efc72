"""The check of a safetensors header; it lives with the stage log, whose blobs need it too."""

from auditor.stagelog.safetensors_header import DTYPE_BYTES, TensorEntry, read_header

__all__ = ["DTYPE_BYTES", "TensorEntry", "read_header"]
