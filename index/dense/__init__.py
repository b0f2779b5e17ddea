"""Nearest neighbours of vectors: exact, compressed, and the tuning that chooses between them.

Knows vectors and rows; knows nothing of words or documents.
"""
