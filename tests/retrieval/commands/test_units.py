from collections.abc import Callable

import pytest

from index.errors import InputError
from retrieval.commands.units import parse_bytes, parse_milliseconds


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2GB", 2 * 10**9),
        ("1.5 gb", 15 * 10**8),
        ("512KiB", 1 << 19),
        ("7", 7),
        ("3b", 3),
        (" 1 TB ", 10**12),
    ],
)
def test_sizes_are_read(text: str, value: int):
    assert parse_bytes(text) == value


@pytest.mark.parametrize(("text", "value"), [("2ms", 2.0), ("0.5s", 500.0), ("250us", 0.25), ("1.5 MS", 1.5)])
def test_times_are_read(text: str, value: float):
    assert parse_milliseconds(text) == value


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "0", "1e9", "2 bananas", "1,5GB", "2GBs", "9" * 400])
def test_what_is_no_size_is_refused(text: str):
    with pytest.raises(InputError, match="write 2GB or 500MB"):
        parse_bytes(text)


@pytest.mark.parametrize("text", ["2", "ms", "0ms", "two ms", "1h"])
def test_what_is_no_time_is_refused(text: str):
    with pytest.raises(InputError, match=r"write 2ms or 0\.5s"):
        parse_milliseconds(text)


@pytest.mark.parametrize(
    ("parse", "text", "told"),
    [
        (parse_milliseconds, "2", "'2' has no unit; write 2ms or 0.5s (the units are us, ms, s)"),
        (parse_milliseconds, "1h", "'1h' has an unknown unit; write 2ms or 0.5s (the units are us, ms, s)"),
        (
            parse_bytes,
            "500XB",
            "'500XB' has an unknown unit; write 2GB or 500MB (the units are B, kB, MB, GB, TB, KiB, MiB, "
            "GiB, TiB)",
        ),
        (parse_bytes, "0", "'0' is no amount above zero; write 2GB or 500MB"),
    ],
)
def test_a_unit_that_is_missing_or_unknown_is_told_with_those_there_are(
    parse: Callable[[str], float], text: str, told: str
):
    with pytest.raises(InputError) as caught:
        parse(text)
    assert str(caught.value) == told


def test_blanks_are_passed_over_once():
    """Two neighbouring patterns that both took blanks tried every way to share them: this did not end."""
    assert parse_bytes("1" + " " * 1_000_000 + "kB  ") == 1000
    with pytest.raises(InputError, match="is no amount"):
        parse_bytes("1" + " " * 1_000_000 + "!")
