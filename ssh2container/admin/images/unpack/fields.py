"""The fields of a tar's header and the records of an extended one: numbers, times, names."""

from __future__ import annotations


class DamagedError(Exception):
    """The archive ends too early or holds something that is no header."""


def text(name: bytes) -> str:
    """Return a name as Python has it. Raises DamagedError."""
    if b"\0" in name:
        raise DamagedError(f"a name holds a zero byte: {name[:200]!r}")
    return name.decode("utf-8", "surrogateescape")


def number(field: bytes, what: str) -> int:
    """Return a number of a header: octal, or binary where its first bit is set (GNU, star).

    what: its name, for the DamagedError that is raised where it is none.
    """
    if field[0] & 0x80:
        bits = 8 * len(field) - 1
        value = int.from_bytes(field, "big") & ((1 << bits) - 1)
        return value - (1 << bits) if value >> (bits - 1) else value
    digits = field.partition(b"\0")[0].strip()
    if digits.strip(b"01234567"):
        raise DamagedError(f"the {what} in a header is {field!r}")
    return int(digits or b"0", 8)


def decimal(value: bytes | None, without: int) -> int:
    """Return a number of a pax record, ``without`` where there is none. Raises DamagedError."""
    if not value:
        return without
    longest = 20  # digits of 2**64
    if len(value) > longest or not value.lstrip(b"-").isdigit():
        raise DamagedError(f"{value[:40]!r} in an extended header is not a number")
    return int(value)


def nanoseconds(value: bytes | None, without: int) -> int:
    """Return the nanoseconds of ``1700000000.5``; what is no time counts for nothing."""
    if not value:
        return without
    whole, _, fraction = value.lstrip(b"-").partition(b".")
    longest = 20
    if not whole.isdigit() or len(whole) > longest or (fraction and not fraction.isdigit()):
        return without
    found = int(whole) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0"))
    return -found if value.startswith(b"-") else found


def pairs(field: bytes) -> list[int]:
    """Return offset and length of each piece of a file with holes (GNU's old form)."""
    numbers = []
    for at in range(0, len(field) - 23, 24):
        if not field[at : at + 24].strip(b"\0"):
            break
        numbers += [number(field[at : at + 12], "offset"), number(field[at + 12 : at + 24], "length")]
    return numbers


def records(content: bytes) -> dict[bytes, bytes]:
    """Return the records of a pax header; a list of holes that is spread over several becomes one.

    Raises DamagedError.
    """
    found: dict[bytes, bytes] = {}
    holes: list[bytes] = []
    at = 0
    while at < len(content) and content[at]:
        digits = content[at : at + 20].partition(b" ")[0]
        end = at + (int(digits) if digits.isdigit() else 0)
        key, equals, value = content[at + len(digits) + 1 : end - 1].partition(b"=")
        if not at < end <= len(content) or content[end - 1] != ord("\n") or not key or not equals:
            raise DamagedError("an extended header is damaged")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            holes.append(value)
        found[key] = value
        at = end
    if holes:
        found[b"GNU.sparse.map"] = b",".join(holes)
    return found
