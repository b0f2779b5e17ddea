"""The verbs of the command line: each parses, shows progress, calls one function and prints.

Knows click and the terminal; knows nothing of how the work is done.
"""
