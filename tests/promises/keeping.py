"""Everything that an installation keeps, to be searched: keys, rows and files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tests.promises.world import World
from workers.rekeying import places


def hot(world: World) -> dict[bytes, Any]:
    """Every key of the hot store with what it holds."""
    readers: dict[bytes, Callable[[bytes], Any]] = {
        b"string": world.store.get, b"hash": world.store.hgetall, b"stream": world.store.xrange,
        b"set": world.store.smembers, b"list": lambda name: world.store.lrange(name, 0, -1),
        b"zset": lambda name: world.store.zrange(name, 0, -1, withscores=True),
    }  # fmt: skip
    names: Any = world.store.keys("*")
    kinds = {name: world.store.type(name) for name in names}
    return {name: readers[kind](name) for name, kind in kinds.items() if kind in readers}


def everything(world: World) -> Iterator[tuple[str, bytes]]:
    """Whatever is kept, by the place where it is: keys, tables, and files but for the database's own."""
    for name, value in hot(world).items():
        yield f"key {name!r}", name + repr(value).encode() + (value if isinstance(value, bytes) else b"")
    for table in world.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
        rows = world.rows(f'SELECT t::text AS line FROM "{table.tablename}" t')
        yield f"table {table.tablename}", "\n".join(row.line for row in rows).encode()
    for place in places():
        rows = world.rows(f'SELECT "{place.column.name}" FROM "{place.table.name}"')
        yield f"table {place.table.name}, opened", repr([row[0] for row in rows]).encode()
    for path in world.folder.rglob("*"):
        if path.is_file() and "postgres" not in path.relative_to(world.folder).parts:
            yield str(path), path.read_bytes()
