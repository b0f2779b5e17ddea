"""Filters over the metadata of documents: their text, their conditions, the rows that meet them.

Knows the tables that `index.documents.writer` fills; knows nothing of rankings.
"""
