"""The real program as a child process: started, awaited by what it prints,
and ended by its own process id."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]

#: How long the program may take for what it does at once.
PATIENCE = 30.0


def binary() -> Path:
    """The program under test."""
    path = Path(os.environ.get("COZEWAY_BIN", "target/debug/cozeway"))
    path = path if path.is_absolute() else ROOT / path
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: build it with `cargo build`, or set COZEWAY_BIN")
    return path


class Lines:
    """The lines of a pipe, kept as they come, for whoever waits for one."""

    def __init__(self, pipe: Any, name: str) -> None:
        self._lines: list[str] = []
        self._ended = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, args=(pipe,), name=name, daemon=True)
        self._reader.start()

    def _read(self, pipe: Any) -> None:
        for line in pipe:
            with self._changed:
                self._lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def all(self) -> list[str]:
        with self._changed:
            return list(self._lines)

    def find(self, wanted: Callable[[str], Any], what: str) -> Any:
        """What `wanted` makes of the first line that it wants; waits for it."""
        found: list[Any] = []
        checked = 0

        def looked() -> bool:
            nonlocal checked
            while checked < len(self._lines) and not found:
                made = wanted(self._lines[checked])
                checked += 1
                if made:
                    found.append(made)
            return bool(found) or self._ended

        with self._changed:
            self._changed.wait_for(looked, timeout=PATIENCE)
            lines = "\n".join(self._lines)
        assert found, f"no line with {what} in:\n{lines}"
        return found[0]

    def join(self) -> None:
        self._reader.join(PATIENCE)
        assert not self._reader.is_alive(), "the pipe stays open after the program's end"


class Gateway:
    """A running gateway."""

    def __init__(self, arguments: Sequence[str]) -> None:
        # Only what the tests mean to set reaches the program: neither the
        # caller's Coze nor a proxy.
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("COZE", "OPENAI", "RUST_LOG")) and not name.lower().endswith("_proxy")
        }
        environment["COZEWAY_LOG_FORMAT"] = "json"
        self._process = subprocess.Popen(
            [str(binary()), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=ROOT,
            encoding="utf-8",
        )
        self.output = Lines(self._process.stdout, "stdout")
        self.log = Lines(self._process.stderr, "stderr")
        try:
            self.address: str = self.output.find(
                lambda line: (m := re.search(r"http://127\.0\.0\.1:[0-9]+", line)) and m[0],
                "the address",
            )
        except BaseException as error:
            self._process.kill()
            self._process.wait(PATIENCE)
            error.add_note("standard error:\n" + "\n".join(self.log.all()))
            raise

    @classmethod
    def demo(cls) -> Gateway:
        """`cozeway demo` on a free port."""
        return cls(["demo", "--listen", "127.0.0.1:0"])

    @classmethod
    def serving(cls, config: Path) -> Gateway:
        """`cozeway serve` with a config file."""
        return cls(["serve", "--config", str(config)])

    @property
    def base_url(self) -> str:
        """What a client is given."""
        return f"{self.address}/v1"

    def printed_key(self) -> str:
        """The key that the program shows a newcomer."""
        return self.output.find(
            lambda line: (m := re.search(r"Authorization: Bearer ([^\s'\"]+)", line)) and m[1],
            "a key",
        )

    def logged(self, request_id: str) -> dict[str, Any]:
        """The log line of a request, once it is over for the gateway too."""

        def of_the_request(line: str) -> dict[str, Any] | None:
            if request_id not in line:
                return None
            entry = json.loads(line)
            return entry if entry.get("request_id") == request_id and "outcome" in entry else None

        return self.log.find(of_the_request, f"the outcome of {request_id}")

    def terminate(self) -> None:
        """Tells the program to stop, as a supervisor would."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the program as a crash would, and awaits its end."""
        self._process.kill()
        assert self.wait() == -signal.SIGKILL

    def stop(self) -> int:
        """Ends the program; its exit code."""
        self.terminate()
        return self.wait()

    def wait(self) -> int:
        """Awaits the program's end; its exit code."""
        try:
            code = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(PATIENCE)
            raise AssertionError("the gateway does not end:\n" + "\n".join(self.log.all())) from None
        self.output.join()
        self.log.join()
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()
        return code
