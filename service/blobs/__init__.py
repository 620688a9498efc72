"""Blobs of the service: the durable store and resumable uploads."""
