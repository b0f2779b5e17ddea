"""Peephole beside what a user would write with the usual libraries."""
