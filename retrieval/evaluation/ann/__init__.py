"""Recall against queries a second: this index and other nearest-neighbour libraries on the same vectors.

Knows vectors; knows nothing of texts beyond encoding the queries it is given.
"""
