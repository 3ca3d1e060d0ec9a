"""The address of a PostgreSQL database, checked before anything is sent there."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from pipeline.errors import Usage

ENCRYPTED = ("require", "verify-ca", "verify-full")


class Address(NamedTuple):
    """What libpq is given, without what it takes from its environment and ~/.pgpass."""

    variable: str  # the environment variable that it comes from
    options: dict[str, str | int | None]
    where: str  # to say it with; never the password


def parsed(variable: str, text: str) -> Address:
    """`text` out of the environment `variable`. Raises Usage; no sentence has a part of `text` that may be secret."""
    shape = f"${variable} has to be postgresql://USER@HOST/DATABASE, with @ : / % of a password as %40 %3A %2F %25"
    if not text.startswith(("postgresql://", "postgres://")):
        raise Usage(shape)
    try:
        options = conninfo_to_dict(text)
    except psycopg.ProgrammingError:
        raise Usage(shape) from None  # libpq's words quote the address
    known = {one.keyword.decode(): one.val.decode() for one in pq.Conninfo.get_defaults() if one.val}
    known |= {name: str(value) for name, value in options.items()}
    hosts = (known.get("hostaddr") or known.get("host") or "").split(",")
    name = known.get("dbname") or known.get("user", "")
    ports = known.get("port", "").replace(",", "")
    if any("@" in host[1:] for host in hosts) or "@" in name or not f"{ports}0".isdigit():
        raise Usage(shape)  # a password that was cut in two
    if "service" in known:
        raise Usage(f"${variable} has to name the server itself: leave out the service, and unset PGSERVICE")
    for host in hosts:
        if not is_local(host) and known.get("sslmode") not in ENCRYPTED:
            raise Usage(
                f"templates would go to {host} in the clear: add ?sslmode=verify-full (or require) to ${variable}"
            )
    return Address(variable, options, f"the database {name} at {', '.join(filter(None, hosts)) or 'this machine'}")


def is_local(host: str) -> bool:
    """Whether what is sent there stays on this machine: a Unix socket, or loopback."""
    if not host or host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
