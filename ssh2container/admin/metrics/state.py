"""How far the audit trail has been counted, and to what: a file of root's that is replaced in one step.

Counters and place are one file, so that no record counts twice. Where it is lost or damaged, counting begins
anew, at 0 and with the records from now on: to Prometheus that is a reset, which rate() and increase() know.
To count the log again would be taken for as many new events.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING

from ssh2container.admin import atomic
from ssh2container.admin.auditlog import read
from ssh2container.admin.metrics import counters

if TYPE_CHECKING:
    from typing import Any

    from ssh2container.admin.metrics.counters import Series

PATH = "/var/lib/ssh2container/metrics.json"
_MODE = 0o600
_LARGEST = 1 << 20


class State:
    """What has been counted.

    counted: by series. since: from when on, last: the time of the last record, in seconds since 1970.
    place: how far (:func:`read.followed`). why: why it begins anew, "" if it does not.
    """

    def __init__(self) -> None:
        self.counted: dict[Series, int] = counters.nothing()
        self.since = self.last = time.time()
        self.place: dict[str, Any] = {}
        self.why = ""

    def catch_up(self) -> None:
        """Count what was written since the last time. Raises SessionError."""
        for place, record in read.followed(self.place, self.last):
            self.place = place
            if record is not None and (not self.why or record.at > self.since):
                counters.count(self.counted, record)
                self.last = max(self.last, min(record.at, time.time()))

    def save(self) -> None:
        """Replace the file. Raises OSError."""
        content = {
            "since": self.since,
            "last": self.last,
            "place": self.place,
            "counted": [[*series, number] for series, number in self.counted.items()],
        }
        text = json.dumps(content)
        atomic.write(PATH, f"{_digest(text)}\n{text}\n", _MODE)


def load() -> State:
    """Return the state, or a new one that says why. Raises OSError where the file cannot be read."""
    state = State()
    try:
        with open(PATH, "rb") as file:
            raw = file.read(_LARGEST)
        digest, _, text = raw.decode("ascii").rstrip("\n").partition("\n")
        if digest != _digest(text):
            raise ValueError("its digest is another")  # noqa: TRY301
        content = json.loads(text)
        # A version that counts more begins with 0 there; what it counts no longer is dropped.
        for name, value, number in content["counted"]:
            if (name, value) in state.counted:
                state.counted[name, value] = number
        state.since, state.last, state.place = content["since"], content["last"], content["place"]
    except FileNotFoundError:
        state.why = f"there is no {PATH}"
    except (ValueError, KeyError, TypeError) as error:
        state = State()
        state.why = f"{PATH} is damaged: {error}"
    return state


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
