"""The servers of the internet that tests make (internet.py): run as a program in one of its namespaces.

python3 internet_servers.py ZONE TCP-PORTS UDP-PORTS: on every address there is. Says "ready" when it is.

A TCP port answers "reached ADDRESS PORT from PEER" and then repeats what it gets; 80 and 8080 speak HTTP.
A UDP port answers with the same words, and what it was sent. Port 53 is that of a resolver.
ZONE is "" or a JSON file, read anew for each question: {name: [[type, seconds, value], …]}, with types A,
AAAA, CNAME, RCODE (a number instead of an answer) and EXTRA ([owner, type, value], put in unasked).
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
import socketserver
import struct
import sys
import threading

TYPES = {"A": 1, "CNAME": 5, "AAAA": 28}
LONG = 512


def _words(local: tuple[str, int], peer: tuple[str, int]) -> bytes:
    address = local[0].removeprefix("::ffff:")
    return f"reached {address} {local[1]} from {peer[0].removeprefix('::ffff:')}\n".encode()


def _name(text: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in text.split(".") if label) + b"\0"


def _record(owner: str, kind: str, seconds: int, value: str) -> bytes:
    data = _name(value) if kind == "CNAME" else ipaddress.ip_address(value).packed
    return _name(owner) + struct.pack("!HHIH", TYPES[kind], 1, seconds, len(data)) + data


def _answers(zone: dict[str, list[list[object]]], name: str, wanted: int) -> tuple[int, list[bytes]]:
    """The code and records that the zone has for a question; aliases are followed."""
    found: list[bytes] = []
    code, owner = 0, name
    for _ in range(8):
        alias = ""
        if owner not in zone:
            return (0 if found else 3), found
        for kind, seconds, value in zone[owner]:
            if kind == "RCODE":
                code = int(str(value))
            elif kind == "EXTRA":
                assert isinstance(value, list)
                found.append(_record(value[0], value[1], int(str(seconds)), value[2]))
            elif kind == "CNAME":
                found.append(_record(owner, "CNAME", int(str(seconds)), str(value)))
                alias = str(value)
            elif TYPES[str(kind)] == wanted:
                found.append(_record(owner, str(kind), int(str(seconds)), str(value)))
        if not alias:
            break
        owner = alias
    return code, found


def answer(query: bytes, path: str, most: int) -> bytes:
    """The answer to a query, cut where it is longer than ``most``."""
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += 1 + query[at]
    (wanted,) = struct.unpack_from("!H", query, at + 1)
    question = query[12 : at + 5]
    with open(path, encoding="utf-8") as file:
        code, records = _answers(json.load(file), ".".join(labels).lower(), wanted)
    body = b"".join(records)
    cut = 12 + len(question) + len(body) > most
    flags = 0x8180 | code | (0x0200 if cut else 0)
    count = 0 if cut else len(records)
    return query[:2] + struct.pack("!HHHHH", flags, 1, count, 0, 0) + question + (b"" if cut else body)


class Tcp(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            self._serve()

    def _serve(self) -> None:
        local = self.request.getsockname()
        if local[1] == 53:
            while len(head := self.request.recv(2, socket.MSG_WAITALL)) == 2:
                query = self.request.recv(*struct.unpack("!H", head), socket.MSG_WAITALL)
                whole = answer(query, sys.argv[1], 65535)
                self.request.sendall(struct.pack("!H", len(whole)) + whole)
            return
        words = _words(local, self.client_address)
        if local[1] in (80, 8080):
            if self.request.recv(65536):
                head = f"HTTP/1.0 200 OK\r\nContent-Length: {len(words)}\r\n\r\n"
                self.request.sendall(head.encode() + words)
            return
        self.request.sendall(words)
        while data := self.request.recv(1 << 20):
            self.request.sendall(data)


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1024

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def _udp(port: int) -> None:
    """Answer datagrams from the address that each was sent to (IPV6_PKTINFO)."""
    end = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    end.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    end.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    end.bind(("::", port))

    def serve() -> None:
        while True:
            data, ancillary, _, peer = end.recvmsg(65536, 256)
            info = next(value for _, kind, value in ancillary if kind == socket.IPV6_PKTINFO)
            local = str(ipaddress.IPv6Address(info[:16]).ipv4_mapped or ipaddress.IPv6Address(info[:16]))
            told = _words((local, port), peer) + data
            if port == 53:
                try:
                    told = answer(data, sys.argv[1], LONG)
                except (IndexError, UnicodeDecodeError, struct.error):
                    continue  # no question
            end.sendmsg([told], [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, info[:16] + bytes(4))], 0, peer)

    threading.Thread(target=serve, daemon=True).start()


def main() -> None:
    """Serve until the standard input ends."""
    tcp, udp = ([int(port) for port in words.split(",") if port] for words in sys.argv[2:4])
    for port in tcp:
        threading.Thread(target=Server(("::", port), Tcp).serve_forever, daemon=True).start()
    for port in udp:
        _udp(port)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
