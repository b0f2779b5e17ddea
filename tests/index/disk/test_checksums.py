"""Tests of index.disk.checksums."""

import hashlib
from pathlib import Path

from index.disk.checksums import sha256_of, sha256_of_bytes


def test_checksums_are_those_of_the_bytes(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256_of(tmp_path / "file") == hashlib.sha256(b"abc").hexdigest()
    assert sha256_of_bytes(b"abc") == hashlib.sha256(b"abc").hexdigest()
