"""Measurements: one script or package a question; run from the root of the repository."""
