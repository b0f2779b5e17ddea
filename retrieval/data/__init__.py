"""Readers of data sets: documents, queries and qrels, from files that strangers wrote.

Knows file formats and their errors; knows nothing of words, vectors or models.
"""
