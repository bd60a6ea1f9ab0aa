"""Plain values from a file to a frozen dataclass, with every type checked."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

Settings = TypeVar("Settings")


def settings_of(cls: type[Settings], values: object) -> Settings:
    """An instance of a dataclass of plain fields; what is left out keeps its default.

    Args:
        cls: a dataclass whose fields all have defaults, of type int, float, str or tuple of int.
        values: names and values, as JSON and TOML hold them.

    Raises:
        ValueError: no mapping, an unknown name, or a value of another type.
    """
    known = {item.name for item in fields(cls)}  # type: ignore[arg-type]
    if not isinstance(values, Mapping):
        raise ValueError(f"{values!r} is no table of values")
    if unknown := sorted(set(values) - known):
        raise ValueError(f"unknown name {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    defaults = cls()
    kwargs: dict[str, Any] = {}
    for name, value in values.items():
        kind = type(getattr(defaults, name))
        if kind is float and type(value) in (int, float):
            kwargs[name] = float(value)
        elif kind is tuple and isinstance(value, list | tuple):
            if not all(type(item) is int for item in value):
                raise ValueError(f"{name} = {value!r} holds something that is no whole number")
            kwargs[name] = tuple(value)
        elif type(value) is kind:
            kwargs[name] = value
        else:
            raise ValueError(f"{name} = {value!r} is no {kind.__name__}")
    return cls(**kwargs)
