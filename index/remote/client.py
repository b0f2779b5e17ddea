"""The one place that talks to Milvus: collections and rows of them, over pymilvus.

In: an address, rows, filters. Out: rows and distances. Every failure of the server is a `RemoteError` of one
line. Knows nothing of documents or indexes. The token and the certificate come from the environment:

    PEEPHOLE_MILVUS_TOKEN     TOKEN or USER:PASSWORD
    PEEPHOLE_MILVUS_TLS       1 to connect by TLS, with the certificates of the system
    PEEPHOLE_MILVUS_CA        file of the certificates to trust instead; implies TLS
    PEEPHOLE_MILVUS_DATABASE  if it is not the default one
    PEEPHOLE_MILVUS_TIMEOUT   seconds that an answer may take, 10 by default
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from index.errors import InputError, RemoteError, needing
from index.remote.address import Address

T = TypeVar("T")
Row = dict[str, Any]
# The number of a row, the row of its document, and the score.
Hit = tuple[int, int, float]

# The fields of text, and the bytes that each can hold; the last is Milvus' limit.
TEXTS: Mapping[str, int] = {
    "key": 64,
    "id": 65_535,
    "title": 65_535,
    "text": 65_535,
    "metadata": 65_535,
    "queries": 65_535,  # known ones; collections of earlier versions have none
}

_TIMEOUT_SECONDS = 10.0
# What a server may take to index vectors or load them, and to make many rows visible.
_PATIENT_SECONDS = 3600.0
# Rows that the server gives at once, and vectors among them: an answer has at most 64 MB.
ROWS_AT_ONCE = 4096
# Milvus' limit on the results of a search.
MOST_RESULTS = 16_384
# Queries of a search at once.
_QUERIES_AT_ONCE = 64
# The server's code for a collection that is not in memory, as after a restart of some servers.
_NOT_LOADED = 101
_NOT_FOUND = 100


class Server:
    """A connection; safe for use by several threads.

    address: of the server.
    Raises MissingExtraError, RemoteError if the server does not answer.
    """

    def __init__(self, address: Address) -> None:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # it writes what is raised as well
        with needing("milvus"):
            import pymilvus
        for name in ("pymilvus", "pymilvus.milvus_client", "pymilvus.bulk_writer"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # it writes tracebacks of what it raises
        self._library = pymilvus
        self.address = address
        self._seconds = _seconds()
        certificates = os.environ.get("PEEPHOLE_MILVUS_CA", "")
        tls = bool(certificates) or os.environ.get("PEEPHOLE_MILVUS_TLS", "") not in ("", "0")
        options = {"server_pem_path": certificates} if certificates else {}
        with self._asking():
            self._client = pymilvus.MilvusClient(
                f"{'https' if tls else 'http'}://{address.host}:{address.port}",
                token=os.environ.get("PEEPHOLE_MILVUS_TOKEN", ""),
                db_name=os.environ.get("PEEPHOLE_MILVUS_DATABASE", ""),
                timeout=self._seconds,
                dedicated=True,
                **options,
            )

    def collections(self) -> list[str]:
        """The names of all collections."""
        with self._asking():
            return list(self._client.list_collections(timeout=self._seconds))

    def target_of(self, alias: str) -> str | None:
        """The collection that an alias stands for; None if there is no such alias."""
        with self._asking():
            try:
                return str(self._client.describe_alias(alias, timeout=self._seconds)["collection_name"])
            except self._library.MilvusException as error:
                if error.code == _NOT_FOUND or "not found" in str(error) or "not exist" in str(error):
                    return None
                raise

    def point(self, alias: str, collection: str) -> None:
        """Let an alias stand for a collection, in one step."""
        change = self._client.create_alias if self.target_of(alias) is None else self._client.alter_alias
        with self._asking():
            change(collection, alias, timeout=self._seconds)

    def create(self, collection: str, dimension: int, most_words: int = 0) -> None:
        """Make an empty collection; `Collection.index` makes it searchable.

        dimension: width of the vectors.
        most_words: most words that are stored of a document; 0 for a collection without words.
        """
        kinds = self._library.DataType
        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("number", kinds.INT64, is_primary=True)
        schema.add_field("row", kinds.INT64)
        schema.add_field("start", kinds.INT64)
        schema.add_field("end", kinds.INT64)
        for name, longest in TEXTS.items():
            schema.add_field(name, kinds.VARCHAR, max_length=longest)
        schema.add_field("attributes", kinds.JSON)
        schema.add_field("dense", kinds.FLOAT_VECTOR, dim=dimension)
        schema.add_field("sparse", kinds.SPARSE_FLOAT_VECTOR)
        if most_words:
            schema.add_field("title_words", kinds.INT32)
            schema.add_field("query_words", kinds.INT32)
            schema.add_field("words", kinds.ARRAY, element_type=kinds.INT32, max_capacity=most_words)
        with self._asking():
            self._client.create_collection(collection, schema=schema, timeout=self._seconds)

    def collection(self, name: str) -> Collection:
        """A collection by its name, which need not exist."""
        return Collection(name, self._client, self._asking, self._seconds)

    def drop(self, collection: str) -> None:
        """Remove a collection, if it exists."""
        with self._asking():
            self._client.drop_collection(collection, timeout=self._seconds)

    def close(self) -> None:
        """Close the connection. Calling it again does nothing."""
        with suppress(Exception):  # there is nothing that a caller could do
            self._client.close()

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Turn any failure of the library into a RemoteError of one line."""
        try:
            yield
        except self._library.MilvusException as error:
            raise RemoteError(f"{self.address}: {_problem(error)}") from error
        except (ValueError, TypeError, OSError) as error:  # of gRPC or of an answer that makes no sense
            raise RemoteError(
                f"{self.address}: {_first_line(error)}; check the server and its address"
            ) from error


class Collection:
    """Rows on a server; safe for use by several threads. Every method raises RemoteError."""

    def __init__(self, name: str, client: Any, asking: Callable[[], Any], seconds: float) -> None:
        """Use `Server.collection`."""
        self.name = name
        self._client = client
        self._asking = asking
        self._seconds = seconds

    def insert(self, rows: Sequence[Row]) -> None:
        """Add rows; durable on return."""
        with self._asking():
            self._client.insert(self.name, list(rows), timeout=_PATIENT_SECONDS)

    def delete(self, where: str) -> None:
        """Remove the rows that meet a filter."""
        self._loaded(lambda: self._client.delete(self.name, filter=where, timeout=_PATIENT_SECONDS))

    def count(self, where: str) -> int:
        """How many rows meet a filter, after all that was written until now."""
        found = self._loaded(
            lambda: self._client.query(
                self.name,
                filter=where,
                output_fields=["count(*)"],
                consistency_level="Strong",
                timeout=_PATIENT_SECONDS,
            )
        )
        return int(found[0]["count(*)"])

    def query(self, where: str, fields: Sequence[str]) -> list[Row]:
        """The rows that meet a filter, which must be few, in no order."""
        return [
            dict(row)
            for row in self._loaded(
                lambda: self._client.query(
                    self.name, filter=where, output_fields=list(fields), timeout=self._seconds
                )
            )
        ]

    def scan(
        self, where: str, fields: Sequence[str], upto: int, at_once: int = ROWS_AT_ONCE
    ) -> Iterator[list[Row]]:
        """The rows with numbers below `upto` that meet a filter, some at a time, by rising numbers."""
        for start in range(0, upto, at_once):
            part = f"number >= {start} and number < {min(start + at_once, upto)} and ({where})"
            yield sorted(self.query(part, [*fields, "number"]), key=number_in)

    def search(
        self,
        field: str,
        queries: Sequence[NDArray[np.float32] | dict[int, float]],
        k: int,
        where: str,
        parameters: Mapping[str, Any],
    ) -> list[list[Hit]]:
        """The nearest rows of each query by inner product, best first.

        field: "dense" or "sparse".
        queries: vectors of this field.
        k: results a query, at most `MOST_RESULTS`.
        where: a filter that they must meet.
        parameters: of the server's index.
        """
        found: list[list[Hit]] = []
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            part = list(queries[start : start + _QUERIES_AT_ONCE])
            hits = self._loaded(
                lambda part=part: self._client.search(  # type: ignore[misc]
                    self.name,
                    data=part,
                    anns_field=field,
                    limit=k,
                    filter=where,
                    output_fields=["row"],
                    search_params={"metric_type": "IP", "params": dict(parameters)},
                    timeout=self._seconds,
                )
            )
            found += [[_hit(hit) for hit in one] for one in hits]
        return found

    def index(self, kind: str, parameters: Mapping[str, Any]) -> None:
        """Make the collection searchable, with an index of this kind over the dense vectors, and load it."""
        with self._asking():
            self._client.release_collection(self.name, timeout=_PATIENT_SECONDS)
            known = self._client.list_indexes(self.name)
            if "dense" in known:
                self._client.drop_index(self.name, "dense", timeout=_PATIENT_SECONDS)
            wanted = self._client.prepare_index_params()
            wanted.add_index(
                "dense", index_name="dense", index_type=kind, metric_type="IP", params=dict(parameters)
            )
            if "sparse" not in known:
                wanted.add_index(
                    "sparse", index_name="sparse", index_type="SPARSE_INVERTED_INDEX", metric_type="IP"
                )
                for name in ("row", "key"):
                    wanted.add_index(name, index_name=name, index_type="INVERTED")
            self._client.create_index(self.name, wanted, timeout=_PATIENT_SECONDS)
            self._client.load_collection(self.name, timeout=_PATIENT_SECONDS)

    def flush(self) -> None:
        """Let the server write all rows to its storage, so that it indexes them."""
        with self._asking():
            self._client.flush(self.name, timeout=_PATIENT_SECONDS)

    def _loaded(self, ask: Callable[[], T]) -> T:
        """What is asked; the collection is loaded first if the server has forgotten to."""
        with self._asking():
            try:
                return ask()
            except Exception as error:
                if getattr(error, "code", None) != _NOT_LOADED:
                    raise
            self._client.load_collection(self.name, timeout=self._seconds)
            return ask()


def number_in(row: Row) -> int:
    """The number of a row."""
    return int(row["number"])


def _hit(hit: Any) -> Hit:
    return int(hit["number"]), int(hit["entity"]["row"]), float(hit["distance"])


def _seconds() -> float:
    text = os.environ.get("PEEPHOLE_MILVUS_TIMEOUT", "") or str(_TIMEOUT_SECONDS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _PATIENT_SECONDS:
        raise InputError(f"PEEPHOLE_MILVUS_TIMEOUT is {text[:40]!r}; write seconds, above 0")
    return seconds


def _problem(error: Any) -> str:
    """What the server said, and a remedy."""
    message = _first_line(getattr(error, "message", "") or error)
    if "connecting" in message or "unavailable" in message.lower() or "DEADLINE" in message:
        return "the server does not answer; check that it runs, the address, and PEEPHOLE_MILVUS_TLS"
    if "auth" in message.lower():
        return f"refused ({message}); check PEEPHOLE_MILVUS_TOKEN"
    return f"refused ({message})"


def _first_line(error: object) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
