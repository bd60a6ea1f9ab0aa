"""Text of unknown origin on a terminal."""


def plain(value: object) -> str:
    """A value's text without what steers a terminal: escapes, bells, changes of direction."""
    return "".join(
        char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(value)
    )
