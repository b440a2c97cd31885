"""Structured logs on stderr, one event a line, without addresses.

A last processor masks whatever looks like an e-mail address, in every value however deep, so that no caller can leak
one.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from base.alone import alone
from base.settings import Settings

if TYPE_CHECKING:
    import structlog
else:
    # It writes exceptions by Rich where that is installed; ours are text by then.
    structlog = alone("structlog", ("rich",))

# Generous on purpose: what stands before the sign may hold nearly any character, and masking too much costs little.
_ADDRESS = re.compile(r"[^\s@<>\"(),:;\[\]{}]*(?:@|%40)[^\s@<>\"'(),:;\[\]{}/?&]*", re.IGNORECASE)
MASK = "[address]"


def set_up(settings: Settings, process: str) -> None:
    """Send every log of this process, ours and the libraries', to stderr in one form; each line names `process`."""

    def named(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {"process": process, **event}

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        named,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    last: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if settings.log_format == "console"
        else structlog.processors.JSONRenderer(sort_keys=True, ensure_ascii=False)
    )
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, masked, last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """The log of a module. Events are short phrases; what varies goes into named values."""
    made: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return made


def masked(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The event with every e-mail address in it replaced."""
    return {key: _mask(value) for key, value in event.items()}


def _mask(value: Any) -> Any:
    if isinstance(value, str):
        return _ADDRESS.sub(MASK, value)
    if isinstance(value, bytes):
        return _mask(value.decode(errors="replace"))
    if isinstance(value, dict):
        return {_mask(key): _mask(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_mask(item) for item in value]
    return value if isinstance(value, int | float | bool | None) else _ADDRESS.sub(MASK, repr(value))
