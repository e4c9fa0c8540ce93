"""Whether a client's command is allowed, and which words it is.

A listed command never meets a shell. The command string is split as POSIX shells split and quote
(XCU 2.2, 2.3), but nothing in it is ever expanded or substituted: whatever a shell would take for
more than words is refused. A check of the first word alone would let ``rsync --version; sh`` pass.
The list is a convenience; the container is the boundary.
"""

from __future__ import annotations

from ssh2container.errors import Refusal, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.policy.policy import Access, Command

_OPERATORS = b";&|<>()$`\n"
_IN_DOUBLE_QUOTES_REFUSED = b"$`"
_IN_DOUBLE_QUOTES_ESCAPED = b'$`"\\'
_BLANKS = b" \t"
_QUOTES = b"'\"\\"
_WILDCARDS = b"*?["
_LONGEST_SHOWN = 60


class Word(bytes):
    """One word of a command, without its quotes.

    pattern: None, or the word as a file name pattern for pid 1 to expand: the author left ``*``,
    ``?`` or ``[`` (or a leading ``~``) outside quotes; what was quoted is escaped with a backslash.
    """

    pattern: bytes | None = None


def decide(command: bytes, access: Access) -> list[Word] | None:
    """Return the words to execute without a shell, or None when the shell gets the string as it is.

    command: the client's string, any bytes.

    Raises Refusal for everything the policy does not allow.
    """
    allowed = access.commands
    if allowed == "any":
        return None
    if allowed == "none":
        raise _refusal(command, "the policy allows no commands", access)
    words = split(command, access)
    for entry in allowed:
        if _matches(words, entry):
            return words
    raise _refusal(command, "it is not on the list", access)


def split(command: bytes, access: Access | None = None) -> list[Word]:
    """Split a command into words as a shell would, expanding nothing.

    access: for the wording of the refusal only.

    Raises Refusal for operators, substitutions, newlines and comments outside quotes, and for
    quotes without an end.
    """
    words: list[Word] = []
    position = 0
    while position < len(command):
        if command[position] in _BLANKS:
            position += 1
            continue
        word, position = _word(command, position, access)
        words.append(word)
    return words


def _word(command: bytes, position: int, access: Access | None) -> tuple[Word, int]:
    """Read the word that starts at ``position``; return it and where it ends."""
    if command[position] == ord("#"):
        raise _refusal(command, "a comment (#) needs a shell", access)
    literal = bytearray()
    pattern = bytearray()
    wild = command[position] == ord("~")
    if wild:
        literal += b"~"
        pattern += b"~"
        position += 1
    while position < len(command) and command[position] not in _BLANKS:
        byte = command[position]
        if byte in _QUOTES:
            text, position = _quoted(command, position, access)
            literal += text
            pattern += _escaped(text)
            continue
        if byte in _OPERATORS or byte == 0:
            raise _refusal(command, f"{printable(chr(byte))} outside quotes needs a shell", access)
        wild = wild or byte in _WILDCARDS
        literal.append(byte)
        pattern.append(byte)
        position += 1
    word = Word(literal)
    if wild:
        word.pattern = bytes(pattern)
    return word, position


def _quoted(command: bytes, position: int, access: Access | None) -> tuple[bytes, int]:
    """Read the quoted text that starts at ``position``; return it and where it ends."""
    start = position + 1
    if command[position] == ord('"'):
        return _double_quoted(command, start, access)
    if command[position] == ord("'"):
        end = command.find(b"'", start)
        if end < 0:
            raise _refusal(command, "a quote (') is not closed", access)
        return command[start:end], end + 1
    escaped = command[start : start + 1]
    if escaped in (b"", b"\n"):
        raise _refusal(command, "a backslash is at the end of a line", access)
    return escaped, start + 1


def _double_quoted(command: bytes, position: int, access: Access | None) -> tuple[bytes, int]:
    text = bytearray()
    while position < len(command):
        byte = command[position]
        if byte == ord('"'):
            return bytes(text), position + 1
        if byte in _IN_DOUBLE_QUOTES_REFUSED:
            raise _refusal(command, f"{chr(byte)} inside double quotes needs a shell", access)
        if byte == ord("\\"):
            after = command[position + 1 : position + 2]
            if after == b"\n":
                raise _refusal(command, "a backslash is at the end of a line", access)
            if after and after in _IN_DOUBLE_QUOTES_ESCAPED:
                position += 1
                byte = after[0]
        text.append(byte)
        position += 1
    raise _refusal(command, 'a quote (") is not closed', access)


def _escaped(text: bytes) -> bytes:
    return b"".join(
        b"\\" + text[i : i + 1] if text[i] in b"*?[]\\~" else text[i : i + 1] for i in range(len(text))
    )


def _matches(words: list[Word], entry: Command) -> bool:
    wanted = [word.encode("utf-8", "surrogateescape") for word in entry.words]
    return words == wanted if entry.exact else words[:1] == wanted


def _refusal(command: bytes, why: str, access: Access | None) -> Refusal:
    shown = printable(command[: _LONGEST_SHOWN + 1].decode("utf-8", "replace"))
    if len(shown) > _LONGEST_SHOWN:
        shown = shown[:_LONGEST_SHOWN] + "…"
    remedy = "" if access is None else offered(access)
    return Refusal(f'the command "{shown}" is not allowed', why, remedy, "access")


def offered(access: Access) -> str:
    """Say what a client may ask for instead, and the policy's message: the remedy of every refusal."""
    found: list[str] = []
    if access.commands == "any":
        found.append("any command")
    elif access.commands != "none":
        found += [str(entry) for entry in access.commands]
    if access.sftp is not None:
        found.append("sftp")
    if access.interactive is not False:
        found.append("a login without a command")
    allowed = "allowed: " + ", ".join(found) if found else ""
    return "; ".join(part for part in (allowed, access.message) if part)
