"""HTTP over an index: search, documents, explanations, embeddings, metrics.

Knows HTTP and the retriever; knows nothing of the command line, of training, or of files inside an index.
"""
