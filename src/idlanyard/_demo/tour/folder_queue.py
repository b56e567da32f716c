"""
The broker of the tour: Kombu's, which keeps its messages in a folder.
"""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

from kombu.transport import filesystem


class Channel(filesystem.Channel):
    """
    A channel whose messages are complete when a worker can see them.
    """

    def _put(self, queue: str, payload: Any, **_: Any) -> None:  # type: ignore[override]
        # Kombu 5.7 opens the file under its final name before it writes, so that a worker may
        # read half of a message, and ends with a JSONDecodeError.
        name = f"{time.monotonic_ns():020}_{uuid.uuid4()}.{queue}"
        unfinished = Path(self.data_folder_out, f"{name}.part")
        unfinished.write_text(json.dumps(payload), encoding="utf-8")
        unfinished.rename(unfinished.with_suffix(".msg"))


class Transport(filesystem.Transport):
    """
    A transport with these channels.
    """

    Channel = Channel
