"""Audit records as one JSON object each, with the names of the Elastic Common Schema where it has one.

Imported only where config.yaml says ``audit_format: ecs``.
"""

from __future__ import annotations

import posix as os
import time

VERSION = "8.11"
NAMES = {
    "user": "user.name",
    "uid": "user.id",
    "client": "source.ip",
    "port": "source.port",
    "command": "process.command_line",
    "exit": "process.exit_code",
    "image": "container.image.name",
    "image_digest": "container.image.hash.all",
    "duration": "event.duration",
    "reason": "event.reason",
    "sequence": "event.sequence",
    "errno": "error.code",
    "path": "file.path",
    "size": "file.size",
    "input": "source.bytes",
    "output": "destination.bytes",
    "address": "destination.ip",
    "target_port": "destination.port",
    "name": "destination.domain",
    "networks": "network.name",
}
"""Our names -> the schema's; every other field is :data:`OURS` and its name."""
OURS = "ssh2container."
_NUMBERS = (
    "port", "exit", "sequence", "size", "input", "output", "status", "signal", "bytes", "lost", "memory_peak",
    "pids_peak", "pids_refused", "oom_kills", "cpu_usec", "cpu_user_usec", "cpu_system_usec", "cpu_throttled",
    "memory_largest", "target_port", "count", "start_usec",
)  # fmt: skip
_LISTS = ("image_digest", "networks", "addresses")
_TYPES = {
    "open": ("start", "success"),
    "close": ("end", "success"),
    "refused": ("denied", "failure"),
    "failed": ("error", "failure"),
    "egress-refused": ("denied", "failure"),
}


def as_ecs(record: dict[str, str]) -> str:
    """Return the record as JSON on one line. Its values hold no control character already."""
    kind, outcome = _TYPES.get(record["event"], ("info", "unknown"))
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03}Z"
    parts = [
        f'"@timestamp":"{stamp}"',
        f'"ecs.version":"{VERSION}"',
        '"event.kind":"event"',
        '"event.category":["session"]',
        f'"event.type":["{kind}"]',
        f'"event.action":"{record["event"]}"',
        f'"event.outcome":"{outcome}"',
        '"event.provider":"ssh2container"',
        f'"process.pid":{os.getpid()}',
    ]
    for name, value in record.items():
        if name != "event":
            parts.append(f"{_quoted(NAMES.get(name, OURS + name))}:{_value(name, value)}")
    return "{" + ",".join(parts) + "}"


def _value(name: str, value: str) -> str:
    if name == "duration":
        return str(round(float(value) * 1e9))  # nanoseconds, says the schema
    if name in _LISTS:
        return "[" + ",".join(map(_quoted, value.split(", "))) + "]"
    number = name in _NUMBERS and value.isascii() and value.isdecimal()
    return str(int(value)) if number else _quoted(value)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
