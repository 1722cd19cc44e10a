"""A DNS server for a few names whose addresses a test changes while clients look them up."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from dnslib import QTYPE, RR, A, DNSRecord
from dnslib.server import BaseResolver, DNSLogger, DNSServer


@dataclass
class Names(BaseResolver):
    """Name -> its addresses; others do not exist for it. `asked`: how often addresses were asked for."""

    addresses: dict[str, list[str]] = field(default_factory=dict)
    asked: int = 0
    port: int = 0

    def resolve(self, request: DNSRecord, handler: object) -> DNSRecord:
        reply = request.reply()
        if request.q.qtype == QTYPE.A:
            self.asked += 1
            for address in self.addresses.get(str(request.q.qname).rstrip("."), ()):
                reply.add_answer(RR(request.q.qname, QTYPE.A, rdata=A(address), ttl=0))
        return reply

    def target(self, name: str, port: int) -> str:
        """The url with which a client asks this server, and no other, for a name."""
        return f"dns://127.0.0.1:{self.port}/{name}:{port}"


@contextmanager
def names() -> Iterator[Names]:
    """A server on a free port of the loopback interface."""
    resolver = Names()
    server = DNSServer(resolver, address="127.0.0.1", port=0, logger=DNSLogger("-request,-reply,-truncated,-error"))
    resolver.port = server.server.server_address[1]
    server.start_thread()
    try:
        yield resolver
    finally:
        server.stop()
        server.server.server_close()
        server.thread.join()


def port_free_on(addresses: list[str]) -> int:
    """A port that nobody listens on at any of these addresses."""
    for _ in range(50):
        sockets = [socket.socket() for _ in addresses]
        try:
            sockets[0].bind((addresses[0], 0))
            port = sockets[0].getsockname()[1]
            for one, address in zip(sockets[1:], addresses[1:], strict=True):
                one.bind((address, port))
            return port
        except OSError:
            continue
        finally:
            for one in sockets:
                one.close()
    raise OSError(f"no port is free on all of {addresses}")
