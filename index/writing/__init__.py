"""Changes to an index: build, add, delete, compact, each published as one generation.

Knows how a generation is put together and made live; knows nothing of searching it.
"""
