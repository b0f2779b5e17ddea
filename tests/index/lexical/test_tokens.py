import pytest

from index.lexical.tokens import is_character, lexical_tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Running runners RAN", ["run", "runner", "ran"]),
        ("tar -xzf file.tar.gz", ["tar", "xzf", "file", "tar", "gz"]),
        ("ls -a --list-slots", ["ls", "-a", "list", "slot"]),
        ("C++ and C# code", ["c++", "c#", "code"]),
        ("启动服务", ["启动", "动服", "服务"]),
        ("我", ["我"]),
        ("用docker启动", ["用", "docker", "启动"]),
        ("ｆｕｌｌ Ｗｉｄｔｈ", ["full", "width"]),
        ("Straße STRASSE", ["strass", "strass"]),
        ("don’t don't", ["don't", "don't"]),
        ("snake_case", ["snake", "case"]),
        ("the", ["the"]),
        ("the cat", ["cat"]),
        ("?! ...", []),
        ("", []),
    ],
)
def test_text_comes_apart_into_terms(text: str, tokens: list[str]):
    assert lexical_tokens(text) == tokens


def test_stems_are_those_of_the_indexes_that_exist():
    """Releases of the stemmer differ in these words; see the bounds in pyproject.toml."""
    assert lexical_tokens("added intervals organization neurologists emergency internal") == [
        "add",
        "interval",
        "organiz",
        "neurolog",
        "emergenc",
        "internal",
    ]


def test_endless_word_is_cut():
    assert [len(token) for token in lexical_tokens("x" * 1_000_000)] == [64]


def test_single_characters_are_those_of_scripts_that_are_read_in_pairs():
    assert all(map(is_character, "药𠮷のカ々물"))
    assert not any(map(is_character, ["", "a", "7", "é", "ж", "ꀀ", "ก", "药店", "x药"]))
