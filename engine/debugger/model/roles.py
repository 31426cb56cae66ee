"""Lookup of the column that plays a role: the one that the scene names, else the one with the usual name."""

from collections.abc import Iterable, Mapping
from typing import Any

from engine.protocol.roles import USUAL_COLUMNS


def find_role(
    schema: Mapping[str, Any] | None, addresses: Iterable[str], role: str, table: str | None = None
) -> str | None:
    """The address, among `addresses`, of the column that plays a role, within one table if it is named; None without one."""
    known = [address for address in addresses if table is None or address.startswith(f"{table}.")]
    roles = (schema or {}).get("roles")
    named = roles.get(role) if isinstance(roles, Mapping) else None
    if named in known:
        return str(named)
    return next((address for address in known if address.endswith(f".{USUAL_COLUMNS[role]}")), None)
