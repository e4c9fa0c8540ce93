"""ip(8), nft(8) and nsenter(1), by which root arranges networks."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple

from ssh2container.admin.change import read_or_none
from ssh2container.errors import SessionError

if TYPE_CHECKING:
    from collections.abc import Iterable

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
PACKAGES = {"ip": "iproute2", "nft": "nftables", "nsenter": "util-linux"}
_DEADLINE_S = 30.0
_SET = """
cd /proc/sys/net
while read -r name value; do [ ! -e "$name" ] || printf %s "$value" >"$name"; done
"""


def machine() -> str:
    """Return what tells this host from others that have the same users and networks (machine-id(5))."""
    return (read_or_none("/etc/machine-id") or "").strip()


def ip(commands: Iterable[str], *, inside: str = "", force: bool = False) -> None:
    """Carry out commands of the tool in order. inside: a file of a network namespace. Raises SessionError.

    force: go on after one that fails, and raise nothing.
    """
    options = ["-force"] if force else []
    run([need("ip"), *options, "-batch", "-"], "".join(f"{line}\n" for line in commands), inside, force=force)


class Device(NamedTuple):
    """An interface: its kind (bridge, veth …), the bridge that it is on, whether it was brought up."""

    kind: str
    master: str
    is_up: bool


def devices(*, inside: str = "") -> dict[str, Device]:
    """Return every interface by its name. Raises SessionError.

    Asked by netlink: what a mounted /sys shows are those of whoever mounted it.
    """
    return {
        str(one["ifname"]): Device(
            str(one.get("linkinfo", {}).get("info_kind", "")),
            str(one.get("master", "")),
            "UP" in one.get("flags", ()),
        )
        for one in query("-details", "link", "show", inside=inside)
        if "ifname" in one
    }


def query(*words: str, inside: str = "") -> list[dict[str, Any]]:
    """Return what ip(8) answers. Raises SessionError."""
    found = json.loads(run([need("ip"), "-json", *words], inside=inside) or "[]")
    return [one for one in found if one]


def addresses(device: str, *, inside: str = "") -> set[str]:
    """Return the addresses of an interface. Raises SessionError."""
    found = query("address", "show", "dev", device, inside=inside)
    return {str(one["local"]) for device in found for one in device.get("addr_info", ()) if "local" in one}


def nft(rules: str, *, inside: str = "") -> None:
    """Load ``rules``, all or none. Raises SessionError."""
    run([need("nft"), "-f", "-"], rules, inside)


def settings(values: dict[str, str], *, inside: str) -> None:
    """Write what stands below /proc/sys/net; what the kernel does not have is left out."""
    run(["/bin/sh", "-ec", _SET], "".join(f"{name} {value}\n" for name, value in values.items()), inside)


def run(argv: list[str], given: str = "", inside: str = "", *, force: bool = False) -> str:
    """Run a tool and return what it printed. Raises SessionError in its words."""
    if inside:
        argv = [need("nsenter"), f"--net={inside}", "--", *argv]
    try:
        answer = subprocess.run(
            argv, input=given, capture_output=True, text=True, check=False, timeout=_DEADLINE_S,
            env={"PATH": PATH, "LC_ALL": "C"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise SessionError(
            f"{argv[0]} does not end", f"waited {_DEADLINE_S:.0f} s", step="networks"
        ) from None
    if answer.returncode and not force:
        said = "; ".join(
            line for line in answer.stderr.splitlines() if line and not line.startswith("Command failed")
        )
        raise SessionError(f"{argv[0]} failed", said or f"status {answer.returncode}", step="networks")
    return answer.stdout


def need(tool: str) -> str:
    """Return the path of ``tool``. Raises SessionError that names the package that has it."""
    path = shutil.which(tool, path=PATH)
    if path is None:
        raise SessionError(
            f"networks need {tool}", "it is not installed", f"apt-get install {PACKAGES[tool]}", "networks"
        )
    return path
