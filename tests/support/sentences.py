"""One sentence a line in documents: ``cd tests && python -m support.sentences FILE...`` sets them so.

Only prose is touched: paragraphs and list items. Tables, headings, code and comments stay as they are. A full
stop in code, in brackets, in quotes or after an abbreviation does not end a sentence.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import NamedTuple

ABBREVIATIONS = {"e.g.", "i.e.", "cf.", "vs.", "etc.", "approx.", "resp.", "no.", "p.", "pp.", "ca."}
_FENCE = re.compile(r"\s*(```|~~~)")
_ITEM = re.compile(r"(\s*)([-*+]|\d+[.)])(\s+)")
_APART = re.compile(r"\s*(\||#|<!--|\[[^]]+\]: |---+$)")
_MASKED = re.compile(r"``.+?``|`[^`]*`|\"[^\"]*\"|\[[^][]*\]|\([^()]*\)")
_ENDS = re.compile(r"[.!?][)\"'\]*_`]*$")
_BETWEEN = re.compile(r"[.!?][)\"\]]*( +)(?=[A-Z0-9`\"\[(*])")


class Block(NamedTuple):
    """A paragraph or a list item: the number of its first line from 1, and its lines as they stand."""

    number: int
    lines: list[str]


def blocks(text: str) -> Iterator[tuple[bool, Block]]:
    """Yield (whether it is prose, block) for all of a Markdown text, in its order."""
    block: Block | None = None
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        fence = _FENCE.match(line) is not None
        in_code = block is None and re.match(r" {4}|\t", line) and not _ITEM.match(line)
        apart = fenced or fence or not line.strip() or _APART.match(line) or in_code
        if block and (apart or _begins_item(line, block)):
            yield True, block
            block = None
        if apart:
            yield False, Block(number, [line])
        elif block:
            block.lines.append(line)
        else:
            block = Block(number, [line])
        fenced = fenced != fence
    if block:
        yield True, block


def _begins_item(line: str, block: Block) -> bool:
    """Return whether ``line`` begins an item rather than continuing ``block``: a lone number does not."""
    item = _ITEM.match(line)
    if not item or item[2] in "-*+" or item[2] in ("1.", "1)"):
        return item is not None
    before = _ITEM.match(block.lines[0])
    return before is not None and before[2] not in "-*+"


def split(line: str) -> list[str]:
    """Return the sentences that ``line`` holds."""
    masked = line
    for _ in range(3):
        masked = _MASKED.sub(lambda found: f"`{'x' * (len(found[0]) - 2)}`", masked)
    cuts = [
        found.span(1) for found in _BETWEEN.finditer(masked) if not _abbreviated(masked[: found.start() + 1])
    ]
    starts = [0, *(end for _, end in cuts)]
    ends = [*(start for start, _ in cuts), len(line)]
    return [line[start:end] for start, end in zip(starts, ends, strict=True)]


def _abbreviated(before: str) -> bool:
    word = before.rsplit(maxsplit=1)[-1].lstrip("(")
    return word.lower() in ABBREVIATIONS or re.fullmatch(r"[A-Za-z]\.|\d+\.", before.strip()) is not None


def reset(block: Block) -> list[str]:
    """Return the lines of a paragraph or item with one sentence each; the indentation is that of its text."""
    item = _ITEM.match(block.lines[0])
    first = item[0] if item else re.match(r"\s*", block.lines[0])[0]  # type: ignore[index]
    sentences: list[str] = []
    for line in [block.lines[0][len(first) :], *block.lines[1:]]:
        if sentences and not _ENDS.search(sentences[-1]):
            sentences[-1] += f" {line.strip()}"
        else:
            sentences.append(line.strip())
    lines = [sentence for line in sentences for sentence in split(line)]
    return [(first if not index else " " * len(first)) + line for index, line in enumerate(lines)]


def problems(text: str) -> Iterator[int]:
    """Yield the number of the first line of each paragraph or item that is set otherwise."""
    for prose, block in blocks(text):
        if prose and reset(block) != block.lines:
            yield block.number


def set_anew(text: str) -> str:
    """Return a Markdown text with one sentence a line."""
    lines = [line for prose, block in blocks(text) for line in (reset(block) if prose else block.lines)]
    return "".join(f"{line}\n" for line in lines)


if __name__ == "__main__":
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as file:
            old = file.read()
        with open(path, "w", encoding="utf-8") as file:
            file.write(set_anew(old))
