"""What is wrong with a configuration, in the words of its files. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

_WORDS: Mapping[str, str] = {
    "missing": "is missing",
    "string_type": "must be text, in quotes",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "no_number": "must be a number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number, not an infinite one",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be {ge} or more",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be {le} or less",
    "literal_error": "must be one of {expected}",
    "enum": "must be one of {expected}",
    "byte_size": "must be a size, such as 1048576 or '64MiB'",
    "byte_size_unit": "must be a size, such as 1048576 or '64MiB'",
    "list_type": "must be a list, in [ ]",
    "tuple_type": "must be a list, in [ ]",
    "dict_type": "must be a section, with keys of its own",
    "model_type": "must be a section, with keys of its own",
}
"""What a value has to be, by pydantic's name of the mistake; what is not here says it itself."""

_SECRET = ("users", "password", "passcode", "nats", "nats_system")
_LONGEST = 60


def explained_errors(model: type[BaseModel], error: ValidationError) -> Iterator[str]:
    """Say what is wrong with settings, a line for each mistake: the key, and the reason.

    Args:
        model: what was to be made of the settings.
        error: what pydantic found.
    """
    for problem in error.errors():
        place = problem["loc"]
        key = ".".join(map(str, place))
        if problem["type"] == "extra_forbidden":
            yield f"{key}: {_unknown(model, place)}"
            continue
        words = _WORDS.get(problem["type"])
        if words is None:
            reason = problem["msg"].removeprefix("Value error, ")
        else:
            reason = words.format_map(problem.get("ctx", {})) + _instead(place, problem["input"])
            if problem["type"] in ("list_type", "tuple_type") and isinstance(
                problem["input"], dict
            ):
                reason = f"is a list of sections: write [[{key}]] above each"
        yield f"{key}: {reason}" if key else reason


def _unknown(model: type[BaseModel], place: tuple[int | str, ...]) -> str:
    inside: type[BaseModel] | None = model
    for part in place[:-1]:
        if isinstance(part, str):
            field = inside.model_fields.get(part) if inside is not None else None
            inside = None if field is None else _model_in(field.annotation)
    noun = "section" if len(place) == 1 else "key"
    home = _home(model, str(place[0])) if len(place) == 1 else None
    if home is not None:
        return f"is a key of [{home}], and stands outside it"
    near = get_close_matches(str(place[-1]), inside.model_fields if inside is not None else (), n=1)
    return f"unknown {noun}; did you mean {near[0]}?" if near else f"unknown {noun}"


def _home(model: type[BaseModel], key: str) -> str | None:
    """The one section that has such a key."""
    homes = [
        name
        for name, field in model.model_fields.items()
        if (section := field.annotation) is not None
        and isinstance(section, type)
        and issubclass(section, BaseModel)
        and key in section.model_fields
    ]
    return homes[0] if len(homes) == 1 else None


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, or holds a list of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def _instead(place: tuple[int | str, ...], value: object) -> str:
    """What stands there instead, unless it is a secret, or nothing, or too much."""
    if any(str(part) in _SECRET for part in place) or isinstance(value, dict | list | tuple):
        return ""
    shown = repr(value)
    return f", not {shown}" if len(shown) <= _LONGEST else ""
