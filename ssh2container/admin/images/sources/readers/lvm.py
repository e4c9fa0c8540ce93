"""Logical volumes, through libvslvm: ``list FILE``, ``copy FILE NAME TARGET``."""

from __future__ import annotations

import importlib
import json
import sys
from typing import IO, Any

_CHUNK = 1 << 20


def main(arguments: list[str]) -> int:
    """Print the volumes as JSON, or write one, its zeros as holes."""
    pyvslvm = importlib.import_module("pyvslvm")  # installed only where it is needed

    verb, path = arguments[:2]
    with open(path, "rb") as disk:
        return _use(pyvslvm, disk, verb, arguments[2:])


def _use(pyvslvm: Any, disk: IO[bytes], verb: str, arguments: list[str]) -> int:  # noqa: ANN401
    handle = pyvslvm.handle()
    handle.open_file_object(disk)
    # By name (open_physical_volume_files) the binding of 2018 crashes.
    handle.open_physical_volume_files_as_file_objects([disk])
    volumes = list(handle.get_volume_group().logical_volumes)
    if verb == "list":
        sys.stdout.write(json.dumps([[volume.name, volume.size] for volume in volumes]))
        return 0
    volume = next(volume for volume in volumes if volume.name == arguments[0])
    zeros = bytes(_CHUNK)
    with open(arguments[1], "wb") as target:
        left = volume.size
        while left:
            chunk = volume.read(min(_CHUNK, left))
            if not chunk:
                break
            left -= len(chunk)
            if chunk == zeros:
                target.seek(len(chunk), 1)
            else:
                target.write(chunk)
        target.truncate(volume.size)
    return 0
