"""A page in Chromium, driven through its DevTools protocol: for tests of the search page and its pictures.

In: an index, keys and scripts. Out: values, events and PNG bytes. Needs Chromium and `websockets`.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from retrieval.serving.app import Application
from retrieval.serving.settings import Settings

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
_SECONDS = 20.0
_KEYS = {
    "Enter": ("\r", 13),
    "Escape": ("", 27),
    "ArrowUp": ("", 38),
    "ArrowDown": ("", 40),
    "Tab": ("\t", 9),
    "/": ("/", 191),
}


def chromium() -> str | None:
    """The program; None if there is none."""
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


@contextmanager
def serving(folder: Path, clicks: Path | None = None) -> Iterator[tuple[uvicorn.Server, str]]:
    """A server of an index, in a thread of this process, and the address of its page.

    clicks: the file in which it records searches and clicks, if it shall.
    """
    app = Application(Settings(folder, log_requests=False, clicks=clicks))
    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="on", log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        end = time.monotonic() + _SECONDS
        while not server.started:
            assert time.monotonic() < end and thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield server, f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()


class Page:
    """A tab. Every event that Chromium tells of is kept in `events`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._number = 0
        self.events: list[dict[str, Any]] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a method of the protocol. Raises RuntimeError if it fails."""
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(_SECONDS))
            if message.get("id") == self._number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return dict(message["result"])
            self.events.append(message)

    def run(self, script: str) -> Any:
        """The value of an expression of JavaScript; a promise is waited for."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(str(result["exceptionDetails"]))
        return result["result"].get("value")

    def until(self, script: str) -> None:
        """Wait until an expression is true or an element. Raises AssertionError if it never is."""
        end = time.monotonic() + _SECONDS
        while self.run(f"Promise.resolve({script}).then(Boolean)") is not True:
            assert time.monotonic() < end, f"never true: {script}"
            time.sleep(0.01)

    def open(self, address: str) -> None:
        """Go to an address and wait for the document."""
        self.call("Page.navigate", url=address)
        self.until(f"document.readyState === 'complete' && location.href === {json.dumps(address)}")

    def write(self, text: str) -> None:
        """Write a text where the focus is."""
        self.call("Input.insertText", text=text)

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            text, code = _KEYS[key]
            event = {"key": key, "code": key, "windowsVirtualKeyCode": code, "text": text}
            self.call("Input.dispatchKeyEvent", type="keyDown", **event)
            self.call("Input.dispatchKeyEvent", type="keyUp", **{**event, "text": ""})

    def size(self, width: int, height: int, *, scale: float = 1.0) -> None:
        """The size of the window, in CSS pixels; scale: device pixels of each."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=False,
        )

    def dark(self, dark: bool) -> None:
        """Prefer dark or light colours."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def picture(self) -> bytes:
        """What is seen, as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def requested(self) -> list[str]:
        """The addresses that were asked for."""
        return [
            str(event["params"]["request"]["url"])
            for event in self.events
            if event["method"] == "Network.requestWillBeSent"
        ]

    def complaints(self) -> list[str]:
        """Errors of scripts and of the content security policy, and dialogs."""
        return [
            json.dumps(event["params"])
            for event in self.events
            if event["method"] in ("Runtime.exceptionThrown", "Page.javascriptDialogOpening")
            or (event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error")
        ]


class Browser:
    """A Chromium that runs. address: of its DevTools, host and port."""

    def __init__(self, address: str) -> None:
        self._address = address

    @contextmanager
    def page(self) -> Iterator[Page]:
        """A new tab with storage of its own."""
        from websockets.sync.client import connect

        with connect(self._address, max_size=None, proxy=None) as control:
            context = _result(control, "Target.createBrowserContext")["browserContextId"]
            target = _result(control, "Target.createTarget", url="about:blank", browserContextId=context)
            place = self._address.partition("/devtools/")[0]
            with connect(
                f"{place}/devtools/page/{target['targetId']}", max_size=None, proxy=None
            ) as connection:
                yield Page(connection)
            _result(control, "Target.disposeBrowserContext", browserContextId=context)


def _result(connection: Any, method: str, **parameters: Any) -> dict[str, Any]:
    connection.send(json.dumps({"id": 1, "method": method, "params": parameters}))
    while True:
        message = json.loads(connection.recv(_SECONDS))
        if message.get("id") == 1:
            return dict(message["result"])


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium, until the block ends. Raises RuntimeError if it does not start."""
    program = chromium()
    if program is None:
        raise RuntimeError("Chromium is not installed: apt-get install chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = [*_FLAGS, f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank"]
        process = subprocess.Popen([program, *options], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            yield Browser(_address(Path(profile) / "DevToolsActivePort", process))
        finally:
            process.terminate()
            process.wait()


def _address(file: Path, process: subprocess.Popen[bytes]) -> str:
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end and process.poll() is None:
        lines = file.read_text("ascii").split() if file.exists() else []
        if len(lines) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.02)
    raise RuntimeError("Chromium did not start")
