"""How the readers of this directory are started: each in a sandbox, by name."""

from __future__ import annotations

from ssh2container.admin.images.sandbox import sandbox


def reader(module: str, *arguments: str) -> list[str]:
    """Return the argv of one of our own small readers."""
    return sandbox.python(f"sources.readers.{module}", "sys.exit(m.main(sys.argv[1:]))", *arguments)


def with_bindings(module: str, *arguments: str) -> list[str]:
    """Return the same for a reader that needs one of Debian's Python modules."""
    argv = reader(module, *arguments)
    argv[1] = "-IB"  # with site: the bindings lie in dist-packages
    return argv
