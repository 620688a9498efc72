"""Sign reports and verify them: in-toto Statement, DSSE, Sigstore bundle v0.3.

No torch, no numpy, no network, no clock; keys and files are the caller's.
"""
