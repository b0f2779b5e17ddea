"""Vectors to ids: storage, dense and lexical search. Knows nothing of towers, torch or text encoding."""
