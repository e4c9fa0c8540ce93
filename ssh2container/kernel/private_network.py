"""The addresses inside a private network (``network_mode: private``), the same in every container.

The forwarder's C is built with these values: native/build.sh reads this file, line by line.
They are libslirp's usual ones, which virtual machines of QEMU and containers of podman have, too.
"""

OWN4 = "10.0.2.100"
"""The container's own address."""
NETWORK4 = "10.0.2.0"
NETMASK4 = "255.255.255.0"
PREFIX4 = "24"
GATEWAY4 = "10.0.2.2"
DNS4 = "10.0.2.3"
"""Where the forwarder answers questions for names, by the host's resolver."""

OWN6 = "fd00::100"
NETWORK6 = "fd00::"
PREFIX6 = "64"
GATEWAY6 = "fd00::2"
DNS6 = "fd00::3"

MTU = "65520"
"""Of the tap, in bytes: the largest that leaves room for a link header, as fewer frames carry more."""
