"""Readers of data sets: documents, queries and qrels, from files of any origin.

Knows file formats and their errors; knows nothing of words, vectors or models.
"""
