"""HTML pages and SVG charts for reports.

Knows markup; knows nothing of what a report is about.
"""
