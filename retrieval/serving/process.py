"""Processes and sockets: workers under uvicorn's supervisor, behind one listening socket.

In: settings and where to listen. Out: nothing, once SIGTERM or SIGINT came and all requests are answered.

The workers share the socket. With SO_REUSEPORT each would have its own, and connections that wait at a worker
that dies would be lost with it. One worker is a process of its own too: it is replaced when it dies, and
numpy is imported in it after the number of threads is set.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address
from multiprocessing import parent_process
from multiprocessing.connection import wait
from pathlib import Path
from threading import Thread

import uvicorn
from uvicorn.supervisors import Multiprocess

from index.errors import InputError, StorageError
from index.opened import open_index
from retrieval.serving.app import Application
from retrieval.serving.protocol import LimitedProtocol
from retrieval.serving.settings import Settings
from retrieval.serving.telemetry import log
from retrieval.serving.telemetry.recorder import check_log

# Seconds in which requests under way may finish after SIGTERM.
_DRAIN = 30
_BACKLOG = 1024
# Seconds in which a worker has to answer the supervisor, also while it starts. uvicorn's 5 s are too short on
# a machine at its limit: each new worker would be killed before it had read its modules.
_ANSWERS_WITHIN = 60
_NOT_STARTED = 3  # exit status of a worker whose application could not start, by uvicorn
_KEEP_ALIVE = 75  # longer than nginx keeps its connections by default, 60 s
_TAKEN_WITHIN = 60_000  # milliseconds in which a client takes something of what is sent, as with nginx


@dataclass(frozen=True)
class Listen:
    """Where to listen, with how many processes. TLS if both files are given."""

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    certificate: Path | None = None
    key: Path | None = None


def serve(settings: Settings, listen: Listen) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises InputError for an address that is taken, and what `open_index` and `check_log` raise.
    """
    open_index(settings.index).close()  # what is wrong at the start is said in one line
    _check_certificate(listen)
    if settings.clicks is not None:
        check_log(settings.clicks)
    _silence()
    with _listening(listen) as listener, _board() as board:
        hosts = () if settings.hosts is None and _is_own(listener) else settings.hosts
        config = _config(replace(settings, board=board, hosts=hosts), listen)
        log.event("listening", address=_address(listener, listen), workers=listen.workers)
        supervisor = _Supervisor(config, [listener])
        supervisor.run()
    log.event("stopped")
    if supervisor.failed:
        raise StorageError("a worker could not start; the log above says why")


def _silence() -> None:
    """Leave out what libraries log: it is no JSON, and the log has lines of its own for what matters."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


class _Supervisor(Multiprocess):
    """uvicorn's supervisor, which also tells of workers that ended, and how.

    When told to stop it also closes its own copy of the listening socket. Otherwise new connections would be
    taken, and wait for nobody.
    """

    failed = False  # whether a worker could not start, so that all ended

    def keep_subprocess_alive(self) -> None:
        """Replace workers that ended or answer no more. One that could not even start ends all."""
        before = [*self.processes]
        super().keep_subprocess_alive()
        for old, new in zip(before, self.processes, strict=True):
            if old.exitcode == _NOT_STARTED:
                self.failed = True
            elif old is not new:
                log.event("worker_replaced", process=old.pid, ended_by=_end(old.exitcode))

    def terminate_all(self) -> None:
        """Refuse new connections, and tell the workers to stop."""
        for each in self.sockets:
            each.close()
        super().terminate_all()


@dataclass(frozen=True)
class Factory:
    """Makes the application inside a worker."""

    settings: Settings

    def __call__(self) -> Application:
        """The application of this process."""
        _silence()
        Thread(target=_end_with_supervisor, daemon=True).start()
        return Application(self.settings)


def _end(exit_code: int | None) -> str:
    """How a process ended: the name of the signal, or the exit status."""
    if exit_code is not None and exit_code < 0:
        with suppress(ValueError):
            return signal.Signals(-exit_code).name
    return f"exit status {exit_code}"


def _end_with_supervisor() -> None:
    """Stop this worker as soon as its supervisor is gone, however that ended.

    Otherwise the workers of one that was killed would keep the port, and serve with nobody to stop them.
    """
    supervisor = parent_process()
    if supervisor is not None:
        wait([supervisor.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


def _config(settings: Settings, listen: Listen) -> uvicorn.Config:
    return uvicorn.Config(
        Factory(settings),
        factory=True,
        http=LimitedProtocol,
        loop="uvloop",
        ws="none",
        lifespan="on",
        workers=listen.workers,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_DRAIN,
        timeout_worker_healthcheck=_ANSWERS_WITHIN,
        ssl_certfile=listen.certificate,
        ssl_keyfile=listen.key,
    )


def _check_certificate(listen: Listen) -> None:
    if listen.certificate is None:
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(listen.certificate, listen.key)
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot be read with its key ({_reason(error)}); give PEM files", path=listen.certificate
        ) from error


@contextmanager
def _listening(listen: Listen) -> Iterator[socket.socket]:
    if not listen.host:  # a shell variable that is not set; the system would take all addresses
        raise InputError("--host is empty; give an address, 0.0.0.0 for all")
    # In brackets an IPv6 address is as it stands in a URL.
    host = listen.host[1:-1] if re.fullmatch(r"\[.*:.*\]", listen.host) else listen.host
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, listen.port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError, TypeError) as error:  # TypeError: a name that IDNA cannot encode
        raise InputError(
            f"{listen.host}:{listen.port}: cannot listen there ({_reason(error)}); "
            "choose another --port or --host"
        ) from error
    listener.set_inheritable(True)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; each connection has it from the listener
        # Otherwise a client that reads nothing keeps its connection, and its answer, for ever.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _TAKEN_WITHIN)
    with listener:
        yield listener


def _is_own(listener: socket.socket) -> bool:
    """Whether only this machine reaches it; then nobody calls it by a name that others can look up."""
    return ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


def _reason(error: Exception) -> str:
    """What the system says, without the number and the tuple that Python adds."""
    return str(getattr(error, "strerror", error)).partition(" (while attempting")[0]


def _address(listener: socket.socket, listen: Listen) -> str:
    host, port = listener.getsockname()[:2]
    return f"{'https' if listen.certificate else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


@contextmanager
def _board() -> Iterator[Path]:
    """A file for the numbers of the workers, in memory where there is such a place."""
    memory = Path("/dev/shm")  # noqa: S108 (its name is random, and it is made new)
    folder = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    try:
        handle, name = tempfile.mkstemp(prefix="peephole-", dir=folder)
    except OSError as error:
        raise StorageError(
            f"there is no folder for temporary files ({_reason(error)}); "
            "set TMPDIR to one that you may write to"
        ) from error
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
