"""Recall and queries per second of this index and of other nearest-neighbour libraries on the same vectors.

Knows vectors; knows nothing of texts, except that queries may have to be encoded.
"""
