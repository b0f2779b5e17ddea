"""Documents out of real files: Markdown, reStructuredText, HTML, text, PDF, Office files, mails, notebooks.

It knows file formats, sections, and what has changed since the last run. It knows nothing of queries, models
or indexes.
"""
