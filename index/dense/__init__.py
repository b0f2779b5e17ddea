"""Nearest neighbours of vectors: exact search, compressed search, and the tuning that chooses one.

Knows vectors and rows; knows nothing of words or documents.
"""
