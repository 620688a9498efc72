"""ONNX operators as pure torch functions: one file a family, one literal table."""
