"""One servicer a gRPC service: decode, call, encode."""
