"""An index whose vectors and documents live in Milvus, read through the same protocol as a local one.

Knows the server's schema and how filters and BM25 are said there; knows nothing of models or of how an index
is published.
"""
