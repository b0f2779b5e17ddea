from __future__ import annotations

import asyncio

from fuzz_http import fuzz


def test_hostile_requests_are_refused_in_one_line_and_nothing_is_written(tmp_path):
    statuses = asyncio.run(fuzz(600, 1, tmp_path))
    assert sum(statuses.values()) == 600 and len(statuses) >= 6 and statuses[200] > 20
