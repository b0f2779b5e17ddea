"""Docstrings of Python source and of the interpreter's C modules, and their split into summary and body.

In: source bytes, which are parsed and never run. Out: `Docstring`s, each with the public name of its object.
Source that does not parse has no docstrings. Knows nothing of corpora.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import warnings
from collections.abc import Iterator
from itertools import dropwhile
from typing import NamedTuple, TypeAlias


class Docstring(NamedTuple):
    """A docstring as it was written, and the names of its object."""

    name: str  # where the object was found: "scipy.optimize._minimize.minimize"
    title: str  # how a user calls the object: "scipy.optimize.minimize(fun, x0, args=())"
    text: str


class Description(NamedTuple):
    """A docstring without markup: its first sentence, and everything after it."""

    summary: str
    body: str


_Documented: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

# Calls by which numpy and torch describe functions that are written in C.
_DESCRIBING_CALLS = frozenset({"add_newdoc", "add_docstr", "add_docstr_all"})
_LONGEST_SIGNATURE = 120

# Modules of the standard library that are written in C, or have their main parts in C. The others are read as
# source.
# fmt: off
_C_MODULES = (
    "array", "atexit", "binascii", "builtins", "cmath", "collections", "contextvars", "datetime", "decimal",
    "errno", "faulthandler", "fcntl", "functools", "gc", "grp", "io", "itertools", "marshal", "math",
    "mmap", "operator", "os", "pwd", "pyexpat", "random", "re", "readline", "resource", "select", "signal",
    "socket", "sqlite3", "ssl", "struct", "sys", "syslog", "termios", "time", "types", "unicodedata",
    "weakref", "zlib",
)
# fmt: on


def source_docstrings(source: bytes, module: str) -> Iterator[Docstring]:
    """Docstrings of a module, of its public objects, and those it gives to C functions by a call."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's strings
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    text = ast.get_docstring(tree, clean=False)
    if text:
        yield Docstring(module, _public(module), text)
    yield from _within(tree, module)


def _within(parent: ast.AST, path: str) -> Iterator[Docstring]:
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if node.name.startswith("_"):
                continue
            name = f"{path}.{node.name}"
            text = ast.get_docstring(node, clean=False)
            if text:
                yield Docstring(name, _public(name) + _signature(node), text)
            if isinstance(node, ast.ClassDef):
                yield from _within(node, name)
        elif isinstance(node, ast.If | ast.Try | ast.With | ast.ExceptHandler):
            yield from _within(node, path)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield from _described_by(node.value, path)


def _public(name: str) -> str:
    """A dotted name without its private modules; most of their objects are exported by a public parent.

    >>> _public("scipy.optimize._minimize.minimize")
    'scipy.optimize.minimize'
    """
    return ".".join(part for part in name.split(".") if not part.startswith("_"))


def _signature(node: _Documented) -> str:
    """Parameters with defaults and without annotations; "" for a class or a very long signature."""
    if isinstance(node, ast.ClassDef):
        return ""
    arguments = node.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    for argument in [*named, arguments.vararg, arguments.kwarg]:
        if argument is not None:
            argument.annotation = None
    text = re.sub(r"^(self|cls)(, |$)", "", ast.unparse(arguments))
    return f"({text})" if len(text) <= _LONGEST_SIGNATURE else ""


def _described_by(call: ast.Call, path: str) -> Iterator[Docstring]:
    """The docstring that a call such as `add_newdoc("module", "name", "doc")` gives to a C function.

    The last argument may be a pair `("method", "doc")`; torch writes `add_docstr(torch.f, "doc")`.
    """
    function = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if function not in _DESCRIBING_CALLS or len(call.args) < 2:
        return
    owner = [ast.unparse(argument).strip("'\"") for argument in call.args[:-1]]
    last = call.args[-1]
    if isinstance(last, ast.Tuple) and len(last.elts) == 2:
        owner.append(ast.unparse(last.elts[0]).strip("'\""))
        last = last.elts[1]
    text = _first_string(last)
    name = ".".join(owner)
    if text and all(part.isidentifier() for part in name.split(".")):
        if function == "add_docstr_all":
            name = f"{path.partition('.')[0]}.Tensor.{name}"
        yield Docstring(name, _public(name.replace(".multiarray.", ".").replace("._C.", ".")), text)


def _first_string(node: ast.expr) -> str:
    """The string at the start of an expression, in "a" + b and in "a".format(b) too; "" if there is none."""
    while not isinstance(node, ast.Constant):
        if isinstance(node, ast.BinOp):
            node = node.left
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            node = node.func.value
        else:
            return ""
    return node.value if isinstance(node.value, str) else ""


def builtin_docstrings() -> Iterator[Docstring]:
    """Docstrings of the standard library's C functions, types and methods, which have no Python source."""
    for module_name in _C_MODULES:
        try:
            module = importlib.import_module(module_name)
        except ImportError:
            continue  # not on this operating system
        for name, value in sorted(vars(module).items()):
            if name.startswith("_") or inspect.ismodule(value):
                continue
            if inspect.isbuiltin(value):
                yield from _from_c(f"{module_name}.{name}", value)
            elif inspect.isclass(value) and value.__module__.lstrip("_") in (
                module_name,
                "builtins",
                "posix",
            ):
                yield from _from_c(f"{module_name}.{name}", value)
                for attribute, member in sorted(vars(value).items()):
                    if not attribute.startswith("_") and not inspect.isfunction(member):
                        yield from _from_c(f"{module_name}.{name}.{attribute}", member)


def _from_c(name: str, value: object) -> Iterator[Docstring]:
    text = getattr(value, "__doc__", None)
    if isinstance(text, str):
        signature = getattr(value, "__text_signature__", None) or ""
        signature = re.sub(r"\(\$\w+(, /)?(, )?", "(", signature) if isinstance(signature, str) else ""
        yield Docstring(name, name.removeprefix("builtins.") + signature[: _LONGEST_SIGNATURE + 2], text)


_LEADING_LINES = re.compile(r"\A\s*\n")
_CALL = re.compile(r"[\w.]+\s*\(.*\)\s*(->.*|=.*|--)?")
_SENTENCE_END = re.compile(r"(?<!e\.g\.)(?<!i\.e\.)(?<!cf\.)(?<=[.!?])\s+(?=[\"'`(]?[A-Z])")
_DOCTEST = re.compile(r"^[ \t]*>>>.*(?:\n[ \t]*\S.*)*", re.MULTILINE)
_RULE = re.compile(r"^[ \t]*([-=~^\"*#+.])\1{2,}[ \t]*$", re.MULTILINE)
_DIRECTIVE = re.compile(r"^[ \t]*\.\. [\w:-]+::", re.MULTILINE)
_ROLE = re.compile(r":[a-z]+(?::[a-z]+)?:`~?([^`]*)`")
_FEWEST_SUMMARY_WORDS, _MOST_SUMMARY_WORDS = 3, 30


def describe(text: str, longest_body: int) -> Description | None:
    r"""Summary and body of a docstring, without leading signatures, doctests, underlines and markup.

    text: the docstring as it was written.
    longest_body: characters of the body that are kept; it is cut after a whole word.

    Returns None if the first sentence is not a summary: too short, too long, or mostly not words.

    >>> describe("f(x) -> y\n\nCopy a :class:`Tree` whole. Links too.\n\n>>> f(1)\n1\n", 100)
    Description(summary='Copy a Tree whole', body='Links too.')
    """
    text = _LEADING_LINES.sub("\n", text)  # cleandoc removes them one by one, in quadratic time
    text = _DIRECTIVE.sub("", _RULE.sub("", _DOCTEST.sub("", inspect.cleandoc(text))))
    text = _ROLE.sub(r"\1", text).replace("`", "")
    paragraphs = [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text.strip())]
    paragraphs = list(dropwhile(lambda line: not line or _CALL.fullmatch(line), paragraphs))
    if not paragraphs:
        return None
    summary, *more = _SENTENCE_END.split(paragraphs[0], maxsplit=1)
    summary = summary.strip(" .:*")
    count = len(re.findall(r"[^\W\d_]{2,}", summary))
    if not _FEWEST_SUMMARY_WORDS <= count <= _MOST_SUMMARY_WORDS or len(summary) > 12 * count:
        return None
    body = " ".join([*more, *paragraphs[1:]]).strip()
    if len(body) > longest_body:
        body = body[: longest_body + 1].rpartition(" ")[0]
    return Description(summary, body)
