"""One module a format: the bytes or the text of a file to its sections.

It knows formats and the libraries that read them. It knows nothing of folders, processes or earlier runs.
"""
