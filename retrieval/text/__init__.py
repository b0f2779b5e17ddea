"""Text to words, letter trigrams and feature ids; snippets of documents; text that is safe to print.

Knows Unicode and words; knows nothing of vectors, files of data or models.
"""
