"""Documents out of real files: Markdown, reStructuredText, HTML, plain text, PDF, Word, PowerPoint, Excel.

It knows file formats, sections, and what has changed since the last run. It knows nothing of queries, models
or indexes.
"""
