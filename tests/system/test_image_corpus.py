"""A corpus of small archives and layouts, each compared, file by file, with what its own tool makes of it."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest
from support import corpus_table
from support.corpus import REFERENCES, Item, Shown, run, shown

from ssh2container.admin.images.sources.choose import choose
from ssh2container.admin.images.store.store import Store
from ssh2container.admin.images.unpack import streams
from ssh2container.admin.images.unpack.rules import Count, HostileError, Limits
from ssh2container.errors import SessionError

ITEMS = [item for items in corpus_table.GROUPS.values() for item in items]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def unpacked(source: str, place: Path) -> dict[str, Shown] | str:
    """Return what our unpacker makes of ``source``, or "refused"."""
    with Store(str(place / "images")).stage() as staging:
        chosen = choose(source)
        try:
            chosen.prepare(staging, Limits(), lambda *_: None)
            found = chosen.streams(staging, Limits(), lambda *_: None)
            streams.unpack(found, staging.root, staging.range, Count(Limits()), lambda *_: None)
        except (HostileError, SessionError):
            return "refused"
        return shown(staging.root, staging.range.base)


@pytest.mark.parametrize("item", ITEMS, ids=[item.name for item in ITEMS])
def test_the_tree_is_the_one_of_its_own_tool(item: Item, tmp_path: Path) -> None:
    source = item.make(tmp_path)
    ours = unpacked(source, tmp_path)
    if isinstance(item.ours, str) and item.ours:
        assert ours == item.ours
        return
    assert isinstance(ours, dict), "it was refused"
    if item.ours:
        for name, content in item.ours.items():
            assert (name in ours) == (content is not None), name
            if content is not None:
                found = ours[name]
                assert found.get("sha256", found.get("target")) in (sha256(content), os.fsdecode(content)), (
                    name
                )
        return
    if item.reference == "as packed":
        assert ours == shown(str(tmp_path / "packed"))
        return
    out = tmp_path / "reference"
    out.mkdir()
    argv = REFERENCES[item.reference](source, str(out))
    tool = {"GNU cpio": "cpio", "umoci": "umoci"}.get(item.reference, argv[0])
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    run(*argv)
    theirs = shown(str(out))
    if item.reference == "GNU cpio":  # it gives no time to directories and links
        for tree in (ours, theirs):
            for entry in tree.values():
                entry["mtime"] = entry["mtime"] if entry["type"] == "f" else ""
    assert ours == theirs
    assert os.listdir(tmp_path / "images/staging") == []


def test_the_page_says_what_is_compared() -> None:
    """``cd tests && python -m support.corpus_table`` writes it."""
    most_items_promised = 120
    assert len(ITEMS) >= most_items_promised
    assert Path(corpus_table.PATH).read_text(encoding="utf-8") == corpus_table.text()
