"""Text to vectors, and the search that joins towers and index."""
