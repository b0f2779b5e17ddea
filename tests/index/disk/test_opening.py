from __future__ import annotations

import os
from pathlib import Path

from index.disk.opening import open_own


def test_a_file_that_is_renamed_while_it_is_opened_is_made_anew(tmp_path, monkeypatch):
    path = tmp_path / "clicks"
    path.write_bytes(b"old")
    real = Path.lstat

    def renamed_just_before(self):
        path.rename(tmp_path / "clicks.1")
        return real(self)

    monkeypatch.setattr(Path, "lstat", renamed_just_before)
    os.close(open_own(path))
    assert path.read_bytes() == b""
    assert (tmp_path / "clicks.1").read_bytes() == b"old"
