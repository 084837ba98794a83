"""What pydantic found wrong with an entry, as a sentence for the user."""

from __future__ import annotations

from pydantic_core import ErrorDetails

from devices.entry import KIND_DEFAULTS
from devices.wording import nearest_names, printable

_NEEDED = {
    "int_type": "a whole number",
    "string_type": "text (put quotes around it)",
    "bool_type": "true or false",
    "tuple_type": "a list of CPU numbers such as [0, 1] or a text such as 0-3",
}


def sentence_of(device: str, problem: ErrorDetails) -> str:
    """One sentence with the key, its value, what it must be and what to do."""
    where = f"device {printable(device)!r}"
    key = ".".join(str(part) for part in problem["loc"])
    value = printable(repr(problem["input"]), 60)
    context = problem.get("ctx", {})
    kind = problem["type"]
    if kind == "extra_forbidden":
        return f"{where}: `{key}` is an unknown key; correct or remove it."
    if kind == "missing" and key != "kind":
        return f"{where} has no `{key}`; add it."
    if kind == "missing":
        return f"{where} has no `{key}`; add one of: {', '.join(KIND_DEFAULTS)}."
    if kind == "literal_error":
        allowed = [word.strip("'") for word in str(context["expected"]).replace(" or ", ", ").split(", ")]
        near = nearest_names(str(problem["input"]), allowed, 1)
        hint = f"did you mean `{near[0]}`?" if near else f"it must be one of: {', '.join(allowed)}."
        return f"{where}: `{key}` is {value}, which doesn't exist; {hint}"
    if kind == "value_error" and not problem["loc"]:
        return f"{where}: {printable(str(context['error']))}."
    if kind == "value_error" and key.endswith("_env"):
        return f"{where}: `{key}` can't be used: {printable(str(context['error']))}; correct it."
    if kind == "value_error":
        return f"{where}: `{key}` is {value}, and that can't be used: {printable(str(context['error']))}; correct it."
    if kind in _NEEDED:
        return f"{where}: `{key}` is {value}, and must be {_NEEDED[kind]}; correct it."
    reason = problem["msg"].removeprefix("Input should be ")
    return f"{where}: `{key}` is {value}, and must be {reason}; correct it."
