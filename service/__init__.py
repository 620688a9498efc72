"""The service half: scheduling, storage, signing keys, gRPC, command line; no mathematics."""
