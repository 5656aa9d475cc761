"""A real Chromium that says what a page fetched and ran: nothing of the page's own, only what its content caused."""

from __future__ import annotations

import base64
import contextlib
import html
import json
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OUTSIDE = (".example", ".test")  # hosts that the cases name

_LOADED = """document.querySelectorAll('iframe').length > 0 && [...document.querySelectorAll('iframe')].every(frame => { try {
    return frame.contentDocument.readyState === 'complete' && frame.contentDocument.URL !== 'about:blank'
    } catch (error) { return true } })"""
_HANDLERS = """JSON.stringify([...document.querySelectorAll('iframe')].map(frame => { try {
                    return [...frame.contentDocument.querySelectorAll('a,area,form,button,input')].filter(one =>
                        /^(javascript|data|vbscript|file|blob):/i.test(String(one.href?.baseVal ?? one.href ?? '')) ||
                        /^(javascript|data|vbscript):/i.test(one.getAttribute('formaction') ?? '') ||
                        /^(javascript|data|vbscript):/i.test(one.getAttribute('action') ?? '')).length +
                    [...frame.contentDocument.querySelectorAll('*')].filter(one =>
                        one.getAttributeNames().some(name => name.startsWith('on') && name in one)).length
                    } catch (error) { return 1 } }))"""


@dataclass
class Seen:
    """What one case did."""

    requests: list[str] = field(default_factory=list)
    scripts: int = 0
    bad_links: int = 0  # links and handlers that run a script when somebody clicks or points

    @property
    def anything(self) -> bool:
        """Whether it did anything at all."""
        return bool(self.requests or self.scripts or self.bad_links)


class Counter:
    """Listens where all foreign names lead, and counts who connects: a preconnect is no request, but it is a hit."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.hits = 0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(2)
            head = connection.recv(4096)
            self.hits += any(name.encode() in head for name in OUTSIDE)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")

    def close(self) -> None:
        """Stop."""
        self._socket.close()


class Browser:
    """One headless Chromium, driven over its debugging pipe."""

    def __init__(self, counter: Counter, folder: str) -> None:
        from websockets.sync.client import connect

        assert PROGRAM is not None
        self.counter = counter
        self._process = subprocess.Popen(
            [
                PROGRAM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
                "--disable-default-apps", "--mute-audio", "--remote-debugging-port=0", f"--user-data-dir={folder}",
                f"--host-resolver-rules=MAP * 127.0.0.1:{counter.port}, EXCLUDE 127.0.0.1", "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._number = 0
        self._events: list[dict[str, Any]] = []
        try:
            port_file = Path(folder) / "DevToolsActivePort"
            for _ in range(300):
                if port_file.exists() and len(port_file.read_text().splitlines()) > 1:
                    break
                time.sleep(0.05)
            port, path = port_file.read_text().splitlines()[:2]
            self._socket = connect(f"ws://127.0.0.1:{port}{path}", max_size=None)
            target = self._send("Target.createTarget", {"url": "about:blank"}, session=None)["targetId"]
            attached = self._send("Target.attachToTarget", {"targetId": target, "flatten": True}, session=None)
            self._session = attached["sessionId"]
            for name in ("Page.enable", "Network.enable", "Debugger.enable"):
                self._send(name)
            self._send("Debugger.setSkipAllPauses", {"skip": True})
            self._tree = self._send("Page.getFrameTree")["frameTree"]["frame"]["id"]
        except BaseException:
            self.close()
            raise

    def _send(self, method: str, params: dict[str, Any] | None = None, session: str | None = "") -> dict[str, Any]:
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": params or {}}
        if session is not None:
            message["sessionId"] = session or self._session
        self._socket.send(json.dumps(message))
        until = time.monotonic() + 30
        while True:
            answer = json.loads(self._socket.recv(timeout=max(0.1, until - time.monotonic())))
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return dict(answer["result"])
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        self._events.append(event)
        if event.get("method") == "Page.javascriptDialogOpening":
            # a dialog stops everything; what opened it counts as a script already
            self._number += 1
            dismissal = {"id": self._number, "method": "Page.handleJavaScriptDialog", "params": {"accept": False}}
            self._socket.send(json.dumps({**dismissal, "sessionId": self._session}))

    def _listen(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            try:
                self._note(json.loads(self._socket.recv(timeout=left)))
            except TimeoutError:
                return

    def show(self, pages: Sequence[str], *, seconds: float = 0.7) -> list[Seen]:
        """Show each page in a frame of its own; when all have loaded, wait a little and return what each did."""
        frames = "".join(
            f'<iframe name="case-{number}" width="300" height="200" srcdoc="{html.escape(page, quote=True)}"></iframe>'
            for number, page in enumerate(pages)
        )
        self._events.clear()
        self._send("Page.setDocumentContent", {"frameId": self._tree, "html": f"<!doctype html><body>{frames}"})
        until = time.monotonic() + 30
        while not self._evaluate(_LOADED) and time.monotonic() < until:
            self._listen(0.2)
        assert time.monotonic() < until, "the page never finished loading"
        self._listen(seconds)
        names = self._names()
        seen = [Seen() for _ in pages]
        for event in self._events:
            params, method = event.get("params", {}), event.get("method")
            if method == "Network.requestWillBeSent":
                url, frame = params["request"]["url"], names.get(params.get("frameId", ""))
                if frame is not None and not url.startswith(("about:", "data:image/", "sandbox:")):
                    seen[frame].requests.append(url)
            elif method == "Debugger.scriptParsed":
                frame = names.get(params.get("executionContextAuxData", {}).get("frameId", ""))
                if frame is not None:
                    seen[frame].scripts += 1
        found = self._evaluate(_HANDLERS)
        for one, bad in zip(seen, json.loads(found), strict=True):
            one.bad_links = bad
        return seen

    def open(self, url: str, *, width: int = 1200, height: int = 900) -> None:
        """Go to a page."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._send("Emulation.setDeviceMetricsOverride", size)
        self._events.clear()
        self._send("Page.navigate", {"url": url})

    def wait_for(self, expression: str, *, seconds: float = 60) -> Any:
        """Return the first value of an expression that is true."""
        until = time.monotonic() + seconds
        while not (value := self._evaluate(expression)):
            assert time.monotonic() < until, f"never came true: {expression}"
            self._listen(0.2)
        return value

    def requests(self) -> list[str]:
        """Return every address that was asked for since the page was opened."""
        found = [one["params"] for one in self._events if one.get("method") == "Network.requestWillBeSent"]
        return [str(one["request"]["url"]) for one in found]

    def screenshot(self, file: Path) -> None:
        """Save what is to be seen, as PNG."""
        file.write_bytes(base64.b64decode(self._send("Page.captureScreenshot", {"format": "png"})["data"]))

    def _evaluate(self, expression: str) -> Any:
        """Return a value of the page."""
        wanted = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        return self._send("Runtime.evaluate", wanted)["result"].get("value")

    def _names(self) -> dict[str, int]:
        names: dict[str, int] = {}

        def walk(tree: dict[str, Any], number: int | None) -> None:
            name = tree["frame"].get("name", "")
            own = int(name.removeprefix("case-")) if number is None and name.startswith("case-") else number
            if own is not None:
                names[tree["frame"]["id"]] = own
            for child in tree.get("childFrames", ()):
                walk(child, own)

        walk(self._send("Page.getFrameTree")["frameTree"], None)
        return names

    def close(self) -> None:
        """Stop the browser."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Run a browser that can reach nothing but this process."""
    counter = Counter()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = Browser(counter, folder)
        try:
            yield browser
        finally:
            browser.close()
            counter.close()


def totals(seen: Sequence[Seen]) -> dict[str, int]:
    """Return how many cases did what."""
    counts: dict[str, int] = defaultdict(int)
    for one in seen:
        counts["requests"] += bool(one.requests)
        counts["scripts"] += bool(one.scripts)
        counts["bad_links"] += bool(one.bad_links)
    return dict(counts)
