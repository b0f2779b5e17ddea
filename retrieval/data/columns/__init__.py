"""Which column of a table is what: by usual names, or as the user names it.

Knows names of columns and nothing of the rows below them.
"""
