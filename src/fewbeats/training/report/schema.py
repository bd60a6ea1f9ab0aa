"""Values read from JSON, checked against the types that describe them."""

import math
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from fewbeats.errors import DataError


@dataclass(frozen=True, slots=True)
class Limits:
    """Least and greatest value of a number, as an annotation of its type."""

    low: float
    high: float = math.inf


def checked(value: object, kind: Any, where: str) -> Any:  # noqa: ANN401 - any type describes itself
    """The value as the type says, so that what is read later needs no second look.

    A type is a TypedDict, ``list``, ``dict[str, ...]``, a pair of a ``tuple``, ``X | None``,
    ``Literal``, a number within ``Limits``, or plain. Keys that a TypedDict does not name stay:
    a report may carry more than is drawn.

    Args:
        value: as ``json.loads`` gives it.
        kind: the type.
        where: what the value is called in an error.

    Raises:
        DataError: the value is something else, with the place where it stands.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if is_typeddict(kind):
        return _checked_keys(value, kind, where)
    if origin is Annotated:
        number = checked(value, inner[0], where)
        limits: Limits = inner[1]
        if not limits.low <= number <= limits.high:
            raise DataError(f"{where} is {number}, outside {limits.low:g} to {limits.high:g}.")
        return number
    if origin in (Union, UnionType):
        if value is None and NoneType in inner:
            return None
        (only,) = (option for option in inner if option is not NoneType)
        return checked(value, only, where)
    if origin is Literal:
        if value not in inner:
            raise DataError(f"{where} is {value!r}, not one of {', '.join(map(repr, inner))}.")
        return value
    if origin is list and isinstance(value, list):
        return [checked(item, inner[0], f"{where}[{i}]") for i, item in enumerate(value)]
    if origin is tuple and isinstance(value, list | tuple) and len(value) == len(inner):
        return tuple(
            checked(item, of, f"{where}[{i}]")
            for i, (item, of) in enumerate(zip(value, inner, strict=True))
        )
    if origin is dict and isinstance(value, dict):
        return {key: checked(item, inner[1], f"{where}.{key}") for key, item in value.items()}
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise DataError(f"{where} is {value}; a figure that does not exist is null.")
        return float(value)
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind in (str, bool) and isinstance(value, kind):
        return value
    raise DataError(f"{where} is {_shown(value)}, where {_name(kind)} is needed.")


def _checked_keys(value: object, kind: Any, where: str) -> dict[str, Any]:  # noqa: ANN401
    if not isinstance(value, dict):
        raise DataError(f"{where} is {_shown(value)}, where an object is needed.")
    found = dict(value)
    for key, of in get_type_hints(kind, include_extras=True).items():
        optional = get_origin(of) is NotRequired
        if key in value:
            needed = get_args(of)[0] if optional else of
            found[key] = checked(value[key], needed, f"{where}.{key}")
        elif not optional and key not in kind.__optional_keys__:
            raise DataError(f"{where} has no {key!r}.")
    return found


def _shown(value: object) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _name(kind: Any) -> str:  # noqa: ANN401
    plain = {float: "a number", int: "a whole number", str: "a text", bool: "true or false"}
    if kind in plain:
        return plain[kind]
    if get_origin(kind) is tuple:
        return f"a list of {len(get_args(kind))}"
    return "an object" if get_origin(kind) is dict else "a list"
