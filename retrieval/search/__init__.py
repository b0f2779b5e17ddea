"""A query to hits: dense, lexical and hybrid retrieval over an open index.

Knows the query encoder and the index; imports no torch and knows nothing of evaluation.
"""
