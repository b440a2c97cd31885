"""Numbers of things in words."""


def count(value: int, thing: str, things: str = "") -> str:
    """A number of things in words: 1 mail, 2 mails; `things` are several of what does not end in s."""
    return f"{value:,} {thing if value == 1 else things or f'{thing}s'}"
