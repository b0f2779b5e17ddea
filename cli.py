"""The `peephole` command: where it starts, its table of verbs, and every failure as one line.

A verb's module is imported when the verb runs, so that a search does not wait for the libraries of training.
"""

from __future__ import annotations

import gc
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, NamedTuple, TextIO

import click

from index.errors import PeepholeError, one_line
from retrieval.text.terminal import visible


class Verb(NamedTuple):
    """Where in retrieval.commands a verb is defined, as module:attribute, and its line in --help."""

    place: str
    summary: str


VERBS = {
    "corpus": Verb("corpus:corpus", "Make a data set to train and search."),
    "train": Verb("train:train", "Train a two-tower model on pairs."),
    "build": Verb("build:build", "Encode a corpus with a model's document tower and publish it as an index."),
    "add": Verb("build:add", "Add documents to an index; one with the _id of another takes its place."),
    "delete": Verb("build:delete", "Delete documents from an index by their _id."),
    "compact": Verb("build:compact", "Make one segment of an index, without what was deleted or replaced."),
    "encode": Verb("vectors:encode", "Encode documents or queries into a file of vectors for other systems."),
    "export": Verb("vectors:export", "Write a tower as an ONNX file, to encode in other languages."),
    "search": Verb("search:search", "Search an index."),
    "learn": Verb("learn:learn", "Learn from clicks, and publish the model if it is shown to be better."),
    "rollback": Verb("learn:rollback", "Give an index the model back that it had before `learn`."),
    "serve": Verb("serve:serve", "Serve an index over HTTP."),
    "clicks": Verb("clicks:clicks", "Count, list, or forget, the searches that serve recorded."),
    "mcp": Verb("mcp:mcp", "Serve an index to agents over MCP."),
    "explain": Verb(
        "explain:explain", "Show which words of a query, and of a document of an index, carry the match."
    ),
    "evaluate": Verb("evaluate:evaluate", "Score an index on judged queries."),
    "bench": Verb("bench:bench", "Measure on your own data what you would use instead."),
    "info": Verb("inspect:info", "What an index holds and what made it."),
    "verify": Verb("inspect:verify", "Read every byte of an index and compare it with the checksums."),
}


class _LazyVerbs(click.Group):
    """A group whose commands are imported on use, and whose failures are one line on standard error."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            if ctx.resilient_parsing:  # a shell that completes what was typed so far
                return None
            raise click.UsageError(_unknown(cmd_name), ctx)
        module, _, attribute = VERBS[cmd_name].place.partition(":")
        gc.disable()  # what an import makes stays to the end, so looking for garbage in it is lost time
        try:
            command: click.Command = getattr(import_module(f"retrieval.commands.{module}"), attribute)
        finally:
            gc.freeze()
            gc.enable()
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.summary) for name, verb in VERBS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _visible_errors():
                return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt as error:
            raise click.ClickException("interrupted") from error
        except Exception as error:
            if ctx.params.get("debug") and not isinstance(error, PeepholeError):
                raise
            raise click.ClickException(visible(one_line(error))) from error

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        with _visible_errors():
            return super().make_context(*args, **options)


def _unknown(name: str) -> str:
    """What is said of a verb that does not exist: those of nearly that name. click says it since 8.4."""
    from difflib import get_close_matches

    close = ", ".join(map(repr, get_close_matches(name, VERBS)))
    return f"No such command {name!r}." + (f" Did you mean {close}?" if close else "")


@contextmanager
def _visible_errors() -> Iterator[None]:
    """Make visible what strangers wrote into the message of an error that click prints."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise  # its message is our own help
    except click.ClickException as error:
        error.message = visible(error.message)  # type: ignore[misc]
        raise


@click.group(
    cls=_LazyVerbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="peephole")
@click.option("--debug", is_flag=True, help="Show the traceback of an unexpected failure.")
def verbs(debug: bool) -> None:
    """Search that a team trains on its own pairs and serves from ordinary CPUs.

    \b
    peephole corpus pydoc -o data          a data set: the docstrings installed here
    peephole train data -o my.model        learn from its pairs
    peephole build data -m my.model -o my.index
    peephole search my.index "copy a folder"
    peephole evaluate my.index data        recall and nDCG on held-out queries
    """  # noqa: D301


def main() -> None:
    """Entry point of the `peephole` command."""
    _replace_closed_streams()
    sys.stdout, sys.stderr = _outlasting(sys.stdout), _outlasting(sys.stderr)
    try:
        verbs(prog_name="peephole")
    except SystemExit as end:
        if sys.argv[1:2] == ["search"]:
            # Taking an interpreter apart takes 3 to 6 ms. It also reports what could not be written.
            with suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(int(end.code or 0))
        raise


class _Outlasting(io.FileIO):
    """A standard stream that outlasts its reader: when `head` has gone, what is still written is dropped.

    The work then goes on to its end and decides the exit status. Any other failure is raised, once.
    """

    def write(self, data: Any) -> int:
        """Write bytes; an error names the stream."""
        try:
            return super().write(data)
        except OSError as error:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            if isinstance(error, BrokenPipeError):
                return memoryview(data).nbytes
            error.filename = "standard output" if self.fileno() == 1 else "standard error"
            raise


def _outlasting(stream: TextIO) -> TextIO:
    """A text stream that outlasts its reader; one that another program has put in place stays as it is."""
    buffered = getattr(stream, "buffer", None)
    unbuffered = isinstance(buffered, io.FileIO)  # by `python -u`
    if not unbuffered and not isinstance(getattr(buffered, "raw", None), io.FileIO):
        return stream
    writer = io.BufferedWriter(_Outlasting(stream.fileno(), "w", closefd=False))
    by_lines = unbuffered or stream.isatty() or stream is sys.stderr
    # A title in a language that the terminal's encoding lacks must not end a search.
    return io.TextIOWrapper(writer, stream.encoding, "replace", line_buffering=by_lines)


def _replace_closed_streams() -> None:
    """Open the null device for a closed standard stream, whose number the next file would get otherwise."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # in this order, so that each gets the number that is its own
            handle = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(handle, mode, closefd=False))


if __name__ == "__main__":
    main()
