"""BM25: tokens, postings, and the search over them.

Knows words and rows; knows nothing of vectors or of how documents are stored.
"""
