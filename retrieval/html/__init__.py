"""HTML pages and SVG charts for reports: geometry in Python, markup in templates/.

Knows nothing of what a report is about.
"""
