"""A headless Chromium driven through its DevTools protocol over two pipes; it needs no package and no port."""

import base64
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-sync",
    "--remote-debugging-pipe",
)


class Browser:
    """One tab. `errors` has what pages complained of, `requests` the addresses that they asked for."""

    def __init__(self, program: str, profile: Path):
        theirs_in, self._send = os.pipe()
        receive, theirs_out = os.pipe()
        self._receive = os.fdopen(receive, "rb")
        command = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(
            ["bash", "-c", command, "bash", program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._asked, self._session, self._buffer = 0, {}, b""
        self.errors: list[str] = []
        self.requests: list[str] = []
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self._ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._ask(f"{domain}.enable")

    def open(self, page: Path, width: int = 1200, height: int = 900) -> None:
        """Shows a page from disk in a window of that size and waits until it is loaded."""
        self.errors, self.requests = [], []
        self._ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self._ask("Page.navigate", url=page.absolute().as_uri())
        self._until(lambda message: message.get("method") == "Page.loadEventFired")

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = self._ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """What the window shows, as a PNG."""
        path.write_bytes(base64.b64decode(self._ask("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        """Ends the browser."""
        self._session = {}
        self._ask("Browser.close")
        self._process.wait()
        os.close(self._send)
        self._receive.close()

    def _ask(self, method: str, **parameters: Any) -> Any:
        self._asked += 1
        asked = {"id": self._asked, "method": method, "params": parameters} | self._session
        os.write(self._send, json.dumps(asked).encode() + b"\0")
        answer = self._until(lambda message: message.get("id") == self._asked)
        assert "error" not in answer, answer
        return answer["result"]

    def _until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next message that is wanted; what others tell on the way is kept."""
        while True:
            while b"\0" not in self._buffer:
                received = self._receive.read1(1 << 16)
                assert received, "the browser is gone"
                self._buffer += received
            head, _, self._buffer = self._buffer.partition(b"\0")
            message = json.loads(head)
            self._hear(message.get("method", ""), message.get("params", {}))
            if wanted(message):
                return message

    def _hear(self, event: str, told: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
        if event in ("Runtime.exceptionThrown", "Log.entryAdded"):
            self.errors.append(json.dumps(told))
        if event == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.errors.append(json.dumps(told["args"]))
