"""Kills, full disks, damage and several writers: can an index lose a document."""
