"""From a corpus to an index: read, encode with the document tower on all cores, publish.

Knows the document encoder and the index builder; knows nothing of queries at search time.
"""
