"""Whether the doctor tells when logins do not take the short way through the interpreter's start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ssh2container.admin.doctor import code
from ssh2container.kernel import landlock

TAG = str(sys.implementation.cache_tag)


def test_the_short_start_needs_its_own_interpreter_and_a_bundle(checkout: str, tmp_path: Path) -> None:
    library, bundled = tmp_path / "start.so", tmp_path / "bundle"
    assert code.why_unused(str(library), str(bundled), TAG) == "does not exist"
    subprocess.run([f"{checkout}/ssh2container/native/build.sh", "start", str(library)], check=True)
    assert "no bundle" in code.why_unused(str(library), str(bundled), TAG)
    bundled.touch()
    assert code.why_unused(str(library), str(bundled), TAG) == ""
    other = code.why_unused(str(library), str(bundled), "cpython-399")
    assert TAG in other
    assert "cpython-399" in other


def test_a_forwarder_that_is_missing_open_or_without_its_library_is_seen(
    checkout: str, tmp_path: Path
) -> None:
    if not os.path.exists("/usr/include/slirp/libslirp.h"):
        pytest.skip("libslirp-dev is not installed")
    program = tmp_path / "forwarder"
    (missing,) = code.forwarder(str(program))
    assert "does not exist" in missing.text
    subprocess.run([f"{checkout}/ssh2container/native/build.sh", "forwarder", str(program)], check=True)
    program.chmod(0o711)
    assert list(code.forwarder(str(program))) == []
    program.chmod(0o755)
    (readable,) = code.forwarder(str(program))
    assert "0755" in readable.text
    program.chmod(0o711)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(landlock, "abi", lambda: 0)
        (without,) = code.forwarder(str(program))
    assert "no Landlock" in without.text
    program.write_bytes(program.read_bytes().replace(b"libslirp.so.0", b"libslirq.so.0"))
    program.chmod(0o711)
    (broken,) = code.forwarder(str(program))
    assert "libslirq.so.0" in broken.text
