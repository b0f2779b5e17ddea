"""Serving over HTTP: how fast, beside what a user would write, and whether it ever stops answering."""
