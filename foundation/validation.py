"""One sentence for what pydantic finds wrong in a file that a user writes: the key, its value, and what to do."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from foundation.text import did_you_mean, printable
from foundation.yaml_lines import Position

#: What a value must be, in YAML's terms, by pydantic's type of the error.
_REQUIREMENTS = {
    "dict_type": "be names with values (`name: value`)",
    "model_type": "be names with values (`name: value`)",
    "list_type": "be a list (`[a, b]`)",
    "tuple_type": "be a list (`[a, b]`)",
    "too_short": "hold at least one",
    "int_type": "be a whole number",
    "float_type": "be a number",
    "string_type": "be text (put quotes around it)",
    "bool_type": "be true or false",
}


def first_problem(error: ValidationError) -> ErrorDetails:
    """Returns the problem to report: a misspelt key comes before the missing key that it was meant to be."""
    return min(error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden")


def place_of(problem: ErrorDetails) -> Position:
    """Returns the place of the problem, without the type that pydantic adds where a value may be one of two."""
    return tuple(part for part in problem["loc"] if part not in ("int", "float"))


def sentence_of(problem: ErrorDetails, known: Iterable[str] = ()) -> str:
    """Returns a sentence with the key, its value, what it must be and what to do; `known` lists the valid keys."""
    key = printable(".".join(map(str, place_of(problem))) or "the file", 80)
    value = "empty" if problem["input"] in (None, [], {}) else printable(repr(problem["input"]), 60)
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        keys = tuple(known)
        others = f"known are: {', '.join(keys)}." if keys else "correct or remove it."
        return f"unknown key {key!r}; {did_you_mean(str(problem['loc'][-1]), keys, count=1, quote='`') or others}"
    if kind == "missing":
        return f"`{key}` is missing; add it."
    if kind == "literal_error":
        allowed = [word.strip("'") for word in str(context["expected"]).replace(" or ", ", ").split(", ")]
        others = f"it must be one of: {', '.join(allowed)}."
        near = did_you_mean(str(problem["input"]), allowed, count=1, quote="`")
        return f"`{key}` is {value}, which doesn't exist; {near or others}"
    if kind == "value_error":
        return _unusable(key, value, printable(str(context["error"])), whole=not problem["loc"])
    requirement = _REQUIREMENTS.get(kind, problem["msg"].removeprefix("Input should "))
    return f"`{key}` is {value}, and must {requirement}; correct it."


def _unusable(key: str, value: str, reason: str, *, whole: bool) -> str:
    """Returns the sentence for a value that our own check refused, without repeating what may be a secret."""
    if whole:
        return f"{reason}."
    clause = "" if key.endswith("_env") else f" is {value}, and that"
    return f"`{key}`{clause} can't be used: {reason}; correct it."
