"""The template language of mails: sandboxed Jinja that prints fields and chooses, and an encoder for what it prints.

A template may print `{{ root.field }}` (roots: profile, brand, message, link), filter it with FILTERS and choose with
`{% if %}`. Loops, calls, assignments, arithmetic and deeper attributes are refused when the message is saved, so a
template's work is bounded by its length. Every profile field needs a fallback: a missing name never makes a hole.

A compiled template is already encoded: its fixed text went through the encoder once, at compile time, and at build time
only the printed values do. That is what makes a mail cheap.
"""

from __future__ import annotations

import binascii
import html
from collections.abc import Callable, Iterator
from typing import Final

from jinja2 import Template, TemplateError, nodes

from base.errors import InvalidInput
from render.mailtext import FILTERS, MailSandbox, Ready, clean

ROOTS: Final = ("profile", "brand", "message", "link", "url")
MAX_SOURCE: Final = 200_000
Encode = Callable[[str], str]

_ALLOWED: Final = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Getattr, nodes.Const, nodes.Filter, nodes.If,
    nodes.CondExpr, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not,
)  # fmt: skip


def plain(text: str) -> str:
    """The encoder of headers and of text that is encoded later."""
    return text


def quoted_printable(text: str) -> str:
    """The encoder of body parts (RFC 2045 §6.7): lines of at most 76 characters that end with CRLF.

    Each piece is closed by a soft line break, so that pieces can be joined in any order and number.
    """
    if not text:
        return ""
    data = text.replace("\r\n", "\n").encode("utf-8", "replace")
    encoded = binascii.b2a_qp(data, istext=True).decode("ascii").replace("\n", "\r\n")
    return encoded if encoded.endswith("\r\n") else encoded + "=\r\n"


def _environment(encode: Encode, escape: bool) -> MailSandbox:
    def finalize(value: object) -> str:
        text = clean(value)
        return encode(html.escape(text) if escape and not isinstance(value, Ready) else text)

    return MailSandbox(finalize, keep_trailing_newline=True)


# Escaping is done before encoding, in `finalize`; Jinja's own would come after it and spoil the encoding.
_READER: Final = _environment(plain, escape=False)


def fields(source: str, field: str) -> set[tuple[str, str]]:
    """The (root, name) pairs that a template reads. Raises InvalidInput naming `field` for whatever is not allowed."""
    if len(source) > MAX_SOURCE:
        raise InvalidInput(field, f"is longer than {MAX_SOURCE} characters")
    try:
        tree = _READER.parse(source)
        read = set(_paths(tree, field))
        # Compiling finds what parsing lets through, such as an unknown filter.
        _READER.compile(tree)
    except TemplateError as error:
        raise InvalidInput(field, f"is not a valid template: {error.message}") from None
    except RecursionError:
        raise InvalidInput(field, "is nested too deeply") from None
    return read


def compiled(source: str, encode: Encode, *, escape: bool) -> Template:
    """A template whose fixed text is already encoded; `render` it with one mapping per root."""
    environment = _environment(encode, escape)
    tree = environment.parse(source)
    for data in tree.find_all(nodes.TemplateData):
        data.data = encode(data.data)
    return Template.from_code(environment, environment.compile(tree), {}, None)


def _paths(node: nodes.Node, field: str) -> Iterator[tuple[str, str]]:
    """Walk a template, refuse what is not allowed, and yield each field read."""
    for child in node.iter_child_nodes():
        if not isinstance(child, _ALLOWED):
            raise InvalidInput(field, f"uses {type(child).__name__.lower()}, which is not allowed in a mail")
        if isinstance(child, nodes.Getattr):
            if not isinstance(child.node, nodes.Name):
                raise InvalidInput(field, "reads deeper than root.field")
            if child.node.name not in ROOTS:
                raise InvalidInput(field, f"reads {child.node.name}.{child.attr}; fields begin with profile, brand, "
                                          "message or link, and a slot stands alone as {{ slot.name }}")  # fmt: skip
            yield child.node.name, child.attr
            continue
        if isinstance(child, nodes.Name):
            raise InvalidInput(field, f"reads {child.name} without a field name, such as profile.first_name")
        if isinstance(child, nodes.Filter) and child.name not in FILTERS:
            raise InvalidInput(field, f"uses the filter {child.name}; the filters are {', '.join(sorted(FILTERS))}")
        yield from _paths(child, field)
