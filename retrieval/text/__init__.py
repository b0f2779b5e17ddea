"""Text to words, letter trigrams and vocabularies, and the snippet of a document that a person sees.

Knows Unicode and words; knows nothing of vectors, files of data or models.
"""
