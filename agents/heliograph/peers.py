"""Which user is at the other end of a connection within this machine.

In: both addresses of a TCP connection over loopback. Out: a user id, from the kernel (Linux, NETLINK_SOCK_DIAG, see
sock_diag(7)); None where it does not tell. On a login node everybody can reach a port on 127.0.0.1: what listens there
without a secret can at least be for its own user alone.
"""

from __future__ import annotations

import os
import pwd
import socket
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeAlias

Address: TypeAlias = tuple[str, int]

SOCK_DIAG: Final = 4
BY_FAMILY: Final = 20
REQUEST: Final = 1
NO_INTERFACE, NO_COOKIE, ALL_STATES = 0, 0xFFFFFFFF, 0xFFFFFFFF
HEADER: Final = struct.Struct("=IHHII")
"""nlmsghdr: length, type, flags, sequence, port."""
QUESTION: Final = struct.Struct("=BBBxI")
"""inet_diag_req_v2: family, protocol, extensions, states; the connection follows."""
PORTS: Final = struct.Struct("!HH")
REST: Final = struct.Struct("=III")
"""Interface and cookie, behind two addresses of 16 bytes."""
ANSWER: Final = struct.Struct("=BBBB")
"""inet_diag_msg: family, state, timer, retransmissions; the connection follows, then `OWNER`."""
OWNER: Final = struct.Struct("=IIIII")
"""Expires, queues, user id, inode."""


def stranger(client: Address | None, server: Address | None) -> int | None:
    """The user who opened a connection to us, when it is neither ours nor root; None for all others, and when it
    cannot be told (another system, another machine, a connection that has ended)."""
    found = owner(client, server) if client and server else None
    return None if found in {None, 0, os.geteuid()} else found


def owner(client: Address, server: Address) -> int | None:
    """The user of the socket `client` of a connection to `server`."""
    family, netlink = socket.AF_INET6, getattr(socket, "AF_NETLINK", None)
    if netlink is None:
        return None
    hosts = [host.removeprefix("::ffff:").partition("%")[0] for host, _ in (client, server)]
    if "." in hosts[0]:  # the kernel finds a mapped one by its IPv4 address, too
        family = socket.AF_INET
    try:
        packed = [socket.inet_pton(family, host).ljust(16, b"\0") for host in hosts]
        asked = PORTS.pack(client[1], server[1])
        body = QUESTION.pack(family, socket.IPPROTO_TCP, 0, ALL_STATES) + asked + b"".join(packed)
        body += REST.pack(NO_INTERFACE, NO_COOKIE, NO_COOKIE)
        with socket.socket(netlink, socket.SOCK_RAW | socket.SOCK_CLOEXEC, SOCK_DIAG) as link:
            link.settimeout(1.0)
            link.send(HEADER.pack(HEADER.size + len(body), BY_FAMILY, REQUEST, 1, 0) + body)
            return _read(link.recv(4096), asked)
    except (OSError, struct.error):
        return None


def _read(answer: bytes, asked: bytes) -> int | None:
    at = HEADER.size + ANSWER.size
    # What listens on the client's port is given for a connection that is not there; an error is no answer at all.
    if HEADER.unpack_from(answer)[1] != BY_FAMILY or answer[at : at + PORTS.size] != asked:
        return None
    *_, user, inode = OWNER.unpack_from(answer, at + PORTS.size + 32 + REST.size)
    return int(user) if inode else None  # without an inode nobody holds it any more, nor reads an answer


@lru_cache(maxsize=1)
def told() -> bool:
    """Whether the kernel tells here."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
            return owner(client.getsockname(), server.getsockname()) == os.geteuid()
    except OSError:
        return False


def user_name(user: int, *, lookup: Callable[[int], str] = lambda user: pwd.getpwuid(user).pw_name) -> str:
    """As people know it; the number when there is no name."""
    try:
        return lookup(user)
    except KeyError:
        return str(user)
