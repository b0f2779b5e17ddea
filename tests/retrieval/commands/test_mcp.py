"""`peephole mcp` started by hand; tests/retrieval/adapters tests the server itself, which needs the SDK."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

from retrieval.commands.mcp import mcp


def test_server_says_that_it_waits_only_to_a_terminal(tmp_path, monkeypatch, capsys):
    server = SimpleNamespace(serve=lambda index, about, ready: ready())
    monkeypatch.setitem(sys.modules, "retrieval.adapters.mcp", server)
    controller, terminal = os.openpty()
    with os.fdopen(terminal) as at_terminal, Path(os.devnull).open() as at_nothing:
        for stdin, told in (
            (
                at_terminal,
                "waits for the program of an agent to talk to it on standard input; Ctrl-C ends it\n",
            ),
            (at_nothing, ""),
            (None, ""),
        ):
            monkeypatch.setattr("sys.stdin", stdin)
            mcp.callback(tmp_path, "")
            assert capsys.readouterr() == ("", told)
    os.close(controller)
