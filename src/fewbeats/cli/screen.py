"""The live view of a stream: strip, state, and the log of what happened."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from fewbeats.cli.strip import draw_strip
from fewbeats.device.bundle import NOTICE, Bundle
from fewbeats.device.keys import DEVELOPMENT_NOTICE
from fewbeats.firmware_bridge.samples import EcgChunk

STRIP_S = 6.0
_ROWS = 6


class Screen:
    """A strip that moves and lines that stay; on anything but a terminal, the lines alone."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=10, transient=True)
        self._strip = np.empty(0, dtype=np.float32)
        self._rate_hz = 0.0
        self._status: list[Text] = []

    def __enter__(self) -> Self:
        if self._drawn:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._drawn:
            self._live.stop()

    @property
    def _drawn(self) -> bool:
        return self._console.is_terminal and not self._console.quiet

    def greet(self, bundle: Bundle) -> None:
        """Say what this is and is not, and whose word the bundle has."""
        self.log(NOTICE, "dim")
        if bundle.signer is not None and bundle.signer.development:
            self.log(DEVELOPMENT_NOTICE, "bold yellow")

    def log(self, text: str, style: str = "") -> None:
        """Add a line that stays."""
        self._console.print(Text(text, style=style), soft_wrap=True)

    def show(self, chunk: EcgChunk, status: Mapping[str, tuple[str, str]]) -> None:
        """Move the strip on and show the status lines: name -> (text, style)."""
        if not self._drawn:
            return
        keep = round(STRIP_S * chunk.rate_hz)
        if chunk.rate_hz != self._rate_hz:
            self._rate_hz, self._strip = chunk.rate_hz, np.empty(0, dtype=np.float32)
        self._strip = np.concatenate([self._strip, chunk.samples_uv])[-keep:]
        self._status = [
            Text.assemble((f"{name:<16}", "bold"), (text, style))
            for name, (text, style) in status.items()
        ]
        # Draw only when it will be seen: the strip costs more than all of the detection.
        self._live.update(_View(self), refresh=False)

    def render(self) -> Group:
        """The picture of now."""
        columns = max(20, min(self._console.width - 2, 110))
        full = np.full(round(STRIP_S * self._rate_hz), np.nan, dtype=np.float32)
        if len(self._strip):
            full[-len(self._strip) :] = self._strip
        lines = [Text(line, style="green") for line in draw_strip(full, columns, _ROWS)]
        return Group(*lines, *self._status, Text(NOTICE, style="dim"))


class _View:
    """Renders the screen when, and only when, the terminal is refreshed."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def __rich__(self) -> Group:
        return self._screen.render()
