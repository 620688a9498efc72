"""A report as documents for people and tools: the HTML page, the model card, the bill of materials.

Pure functions from a report, and what was found out about its signature, to text.
"""
