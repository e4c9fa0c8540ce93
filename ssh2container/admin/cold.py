"""Making what is not compiled: for a login as a program (:mod:`ssh2container.policy.cold`), or here.

The program is the user's own process, so nothing that it does needs to be kept from the user. It holds no
descriptor of the session but the two pipes, and ends with it.
"""

from __future__ import annotations

import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from ssh2container.policy.layers import Part
    from ssh2container.policy.policy import Seccomp
    from ssh2container.policy.store import Places


class Here:
    """Makes the parts in this process."""

    def part(self, name: str, places: Places) -> Part:
        """Return a part of a policy, from its YAML. Raises PolicyError, OSError."""
        from ssh2container.admin.policy.compile import compiler

        return compiler.part(name, places)

    def programs(self, seccomp: Seccomp, capabilities: tuple[int, ...], bits: int) -> bytes:
        """Return a packed system-call filter. Raises OSError, ValueError, RuntimeError, ImportError."""
        from ssh2container.admin.seccomp import build
        from ssh2container.policy import filters

        _, identity = filters.find(seccomp.profile)
        return filters.pack(identity, build.programs(seccomp, capabilities, bits), None)

    def devices(self, names: tuple[str, ...]) -> bytes:
        """Return what names of the Container Device Interface stand for. Raises Refusal."""
        from ssh2container.admin import cdi
        from ssh2container.policy import layers

        return marshal.dumps(cdi.explain(names), layers.MARSHAL_VERSION)

    def close(self) -> None:
        """Keep all: it belongs to the process."""


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer one request after another until there are no more."""
    while head := requests.read(4):
        kind, *request = marshal.loads(requests.read(int.from_bytes(head, "little")))
        letter, content = answer(kind, request)
        answers.write(letter + len(content).to_bytes(4, "little") + content)
        answers.flush()


def answer(kind: str, request: list[object]) -> tuple[bytes, bytes]:
    """Return the letter and the content that answer a request."""
    from ssh2container.errors import Refusal, SessionError
    from ssh2container.policy import cold

    try:
        return cold.MADE, _made(kind, request)
    except SessionError as error:
        fields = (error.what, error.why, error.remedy, error.step, str(error.number))
        return cold.REFUSED if isinstance(error, Refusal) else cold.FAILED, _packed(*fields)
    except OSError as error:
        return cold.SYSTEM, _packed(str(error.errno or 0), error.strerror or str(error), error.filename or "")
    except (ValueError, RuntimeError, ImportError) as error:
        if kind == cold.PROGRAMS:
            return cold.WRONG, _packed(str(error))
        return cold.BUG, _packed(_described(error))
    except Exception as error:  # noqa: BLE001 - the session's log has it
        return cold.BUG, _packed(_described(error))


def _described(error: Exception) -> str:
    from ssh2container.record import audit

    return audit.describe_bug(error)


def _made(kind: str, request: list[object]) -> bytes:
    from ssh2container.policy import cold, layers
    from ssh2container.policy.policy import Seccomp
    from ssh2container.policy.store import Places

    if kind == cold.PART:
        name, places = request
        return layers.encode(Here().part(name, Places(*places)))  # type: ignore[arg-type,misc]
    if kind == cold.DEVICES:
        (names,) = request
        return Here().devices(names)  # type: ignore[arg-type]
    fields, capabilities, bits = request
    return Here().programs(Seccomp(*fields), capabilities, bits)  # type: ignore[arg-type,misc]


def _packed(*fields: str) -> bytes:
    return "\0".join(field.replace("\0", "\\x00") for field in fields).encode("utf-8", "surrogateescape")


def main() -> None:
    """Serve the login that started us."""
    from ssh2container.kernel import process, signals

    process.close_from(3)
    process.die_with_parent(signals.SIGKILL)
    process.set_dumpable(dumpable=False)
    answers = os.dup(1)
    null = os.open("/dev/null", os.O_WRONLY)
    os.dup2(null, 1)  # where libraries might say something
    with open(0, "rb", closefd=False) as requests, open(answers, "wb") as writer:
        serve(requests, writer)


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    main()
