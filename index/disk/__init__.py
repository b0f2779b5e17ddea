"""Files that survive a crash: atomic writes, checksums, the writer lock, generations and their manifest.

Knows paths, bytes and hashes; knows nothing of vectors, postings or documents.
"""
