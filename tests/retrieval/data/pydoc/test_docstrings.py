import inspect
import textwrap

import pytest

from retrieval.data.pydoc.docstrings import Description, builtin_docstrings, describe, source_docstrings


def found(source: str, module: str = "pack._core.tool") -> dict[str, tuple[str, str]]:
    return {d.name: (d.title, d.text) for d in source_docstrings(textwrap.dedent(source).encode(), module)}


def test_public_functions_classes_and_methods_are_found_with_signatures() -> None:
    docs = found(
        '''
        """Module."""
        def add(a: int, /, b: list[int] = [], *rest: int, key=None, **more: str) -> int:
            """Add."""
            def inner():
                """Not seen."""
        async def wait():
            """Wait."""
        def _private():
            """Not seen."""
        class Box(Base):
            """Box."""
            def open(self, wide=True):
                """Open."""
            def __len__(self):
                """Not seen."""
            @classmethod
            def make(cls):
                """Make."""
        def plain(): pass
        if True:
            def later(x):
                """Later."""
        try:
            import fast
        except ImportError:
            def fallback():
                """Fall back."""
        '''
    )
    assert docs == {
        "pack._core.tool": ("pack.tool", "Module."),
        "pack._core.tool.add": ("pack.tool.add(a, /, b=[], *rest, key=None, **more)", "Add."),
        "pack._core.tool.wait": ("pack.tool.wait()", "Wait."),
        "pack._core.tool.Box": ("pack.tool.Box", "Box."),
        "pack._core.tool.Box.open": ("pack.tool.Box.open(wide=True)", "Open."),
        "pack._core.tool.Box.make": ("pack.tool.Box.make()", "Make."),
        "pack._core.tool.later": ("pack.tool.later(x)", "Later."),
        "pack._core.tool.fallback": ("pack.tool.fallback()", "Fall back."),
    }


def test_overlong_signature_is_left_out() -> None:
    parameters = ", ".join(f"parameter_{i}" for i in range(20))
    assert found(f'def f({parameters}):\n    """Doc."""', "m")["m.f"] == ("m.f", "Doc.")


def test_descriptions_given_to_c_functions_by_a_call_are_found() -> None:
    docs = found(
        '''
        add_newdoc("numpy._core.multiarray", "where", """Choose.""")
        add_newdoc("numpy._core", "flatiter", ("copy", """Copy it."""))
        add_docstr(torch.abs, r"""Absolute {x}.""".format(x=1) + "more")
        core.add_docstr_all("abs", """See abs.""")
        add_newdoc("numpy", "computed", text())
        add_newdoc("numpy", "listed", [("a", "b")])
        add_newdoc("not a name", "x", "text")
        add_newdoc("alone")
        other("numpy", "x", "text")
        ''',
        "torch._docs",
    )
    assert docs == {
        "numpy._core.multiarray.where": ("numpy.where", "Choose."),
        "numpy._core.flatiter.copy": ("numpy.flatiter.copy", "Copy it."),
        "torch.abs": ("torch.abs", "Absolute {x}."),
        "torch.Tensor.abs": ("torch.Tensor.abs", "See abs."),
    }


@pytest.mark.parametrize("source", [b"def (", b"\x00", b"x = '\xff'", b"print 1", b"(" * 5000])
def test_source_that_does_not_parse_has_no_docstrings(source: bytes) -> None:
    assert list(source_docstrings(source, "m")) == []


def test_functions_of_c_modules_are_found() -> None:
    docs = {d.name: d for d in builtin_docstrings()}
    assert docs["builtins.sorted"].title == "sorted(iterable, /, *, key=None, reverse=False)"
    assert docs["builtins.str.split"].title.startswith("str.split(")
    assert "largest" in docs["math.floor"].text
    assert not any(part.startswith("_") for name in docs for part in name.split("."))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Copy a tree of files.", Description("Copy a tree of files", "")),
        ("Copy a tree, e.g. The one. Then stop.", Description("Copy a tree, e.g. The one", "Then stop.")),
        (
            """
            range(start, stop) -> range object
            range(stop)

            Return a *lazy* sequence
            of numbers.

            Parameters
            ----------
            start : int
                First of :py:class:`~a.Number` or ``b``.

            .. versionadded:: 3.1

            >>> range(3)
            range(0, 3)

            End.
            """,
            Description(
                "Return a *lazy* sequence of numbers",
                "Parameters start : int First of a.Number or b. 3.1 End.",
            ),
        ),
        ("f(\n  x,\n)\n--\n\nJoin many arrays into one.", Description("Join many arrays into one", "")),
        ("Alias.\n\nLong text follows.", None),
        ("x.y_z 1 2 3 4 5 6\n\nText", None),
        ("word " * 31, None),
        ("a" * 400 + " b c and dd ee\n\nText", None),
        ("f(x)", None),
        (" \n ", None),
        (">>> only.a(doctest)\n1", None),
    ],
)
def test_summary_is_parted_from_body(text: str, expected: Description | None) -> None:
    assert describe(text, 1000) == expected


def test_body_is_cut_at_a_word() -> None:
    described = describe("Copy the tree.\n\naaaa bbbb cccc", 12)
    assert described is not None
    assert described.body == "aaaa bbbb"
    whole = describe("Copy the tree.\n\naaaa bbbb cc", 12)
    assert whole is not None
    assert whole.body == "aaaa bbbb cc"


def test_leading_blank_lines_are_not_taken_off_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    cleaned = []
    real = inspect.cleandoc
    monkeypatch.setattr(inspect, "cleandoc", lambda text: cleaned.append(text) or real(text))
    described = describe(" \n" * 10_000 + "  Copy the whole tree.\n\n  Links too.\n    deep", 100)
    assert described == Description("Copy the whole tree", "Links too. deep")
    assert [text.count("\n") for text in cleaned] == [4]


def test_any_number_of_signatures_is_left_out() -> None:
    described = describe("f(x)\n\n" * 50_000 + "Copy the whole tree.\n\nLinks too.", 100)
    assert described == Description("Copy the whole tree", "Links too.")
