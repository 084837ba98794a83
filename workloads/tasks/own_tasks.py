"""The suite's own tasks: what a name stands for that is no file of the user's.

Movie reviews with human ratings (Hutto & Gilbert 2014, MIT licence) come out of a package that is fetched once: a
snippet of a review has the mean rating of twenty people, from -4 to 4, and those beyond half a point are examples.

Two are made by rule, the same on every machine. `code`: Python functions, and whether they change the list that they
are given. `long-reviews-512`, `long-reviews-1024`: rows that fill so many tokens with built-in reviews, three in four
of which agree.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import TypeVar

from foundation.errors import UserError
from workloads.models.named import PackagedFile
from workloads.models.zoo import fetch
from workloads.tasks.source import CODE, LONG_REVIEWS
from workloads.tasks.table import Row, Table
from workloads.tasks.template import Template

PACKAGED = PackagedFile(
    requirement="vaderSentiment==3.3.2",
    member=(
        "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz/"
        "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
    ),
    sha256="c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350",
    bytes=1_383_098,
    source_sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
)
LEAST_RATING = 0.5
"""Of a mean rating nearer to zero nobody can say whether the review is friendly."""


def movie_reviews(notify: Callable[[str], None]) -> Table:
    """Returns the reviews as columns `sentence` and `label`, in the order of the file; `notify` gets a line before a
    download.

    Raises `UserError` if they can't be fetched.
    """
    path = fetch(PACKAGED, notify)
    try:
        return parse_ratings(path.read_text(encoding="latin-1"), str(path))
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): allow reading it.") from error


def parse_ratings(text: str, where: str) -> Table:
    """Returns the rated snippets of lines `id, mean rating, text`, separated by tabs."""
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        _, rating, sentence = line.rstrip("\r").split("\t", 2)
        if abs(float(rating)) > LEAST_RATING:
            rows.append(Row(number, {"sentence": sentence, "label": "positive" if float(rating) > 0 else "negative"}))
    return Table(where, "line", tuple(rows))


def built_in_reviews() -> str:
    """Returns the file of 96 reviews that is in the package."""
    return resources.files("workloads").joinpath("data/reviews.tsv").read_text(encoding="utf-8")


@dataclass(frozen=True)
class MadeTask:
    """A task that is made by rule: no validation example is a training example."""

    train: Table
    validation: Table
    template: Template


_T = TypeVar("_T")
_TRAINING_ROWS, _VALIDATION_ROWS = 640, 160


def _pick(options: Sequence[_T], *place: object) -> _T:
    """Returns the option that a place has: a hash is the same for every release of Python, unlike its generators."""
    digest = hashlib.sha256(repr(place).encode()).digest()
    return options[int.from_bytes(digest[:8], "big") % len(options)]


_CODE_TEMPLATE = Template(
    about="Does a Python function change the list that it is given?",
    fields={"code": ("code",)},
    prompt="{code}\nDoes this function change the list that it is given? Answer:",
    candidates={"yes": " yes", "no": " no"},
)
_CHANGES = (
    "{x}.sort()\n    return {x}[0]",
    "{x}.append({k})\n    return len({x})",
    "{y} = {x}.pop()\n    return {y} * {k}",
    "for i in range(len({x})):\n        {x}[i] = {x}[i] * {k}\n    return {x}",
    "del {x}[0]\n    return {x}",
    "{x}.reverse()\n    return {x}",
    "{x}[0] = {x}[0] + {k}\n    return sum({x})",
    "{y} = {x}\n    {y}.extend([{k}, {k}])\n    return {y}",
    "while len({x}) > 1:\n        {x}.pop()\n    return {x}[0]",
    "{x} += [{k}]\n    return {x}",
)
_LEAVES = (
    "{y} = sorted({x})\n    return {y}[0]",
    "{y} = {x} + [{k}]\n    return len({y})",
    "{y} = {x}[-1]\n    return {y} * {k}",
    "{y} = [i * {k} for i in {x}]\n    return {y}",
    "return {x}[1:]",
    "{y} = {x}[::-1]\n    return {y}",
    "{y} = list({x})\n    {y}[0] = {y}[0] + {k}\n    return sum({y})",
    "{y} = {x}.copy()\n    {y}.extend([{k}, {k}])\n    return {y}",
    "{y} = 0\n    for i in {x}:\n        {y} = {y} + i\n    return {y}",
    "{y} = {x}\n    {y} = {y} + [{k}]\n    return {y}",
)
_BEFORE = ("", "count = len({x})\n    ", "limit = {k}\n    ", "if not {x}:\n        return None\n    ")
_VERBS = ("handle", "update", "prepare", "read", "combine", "weigh", "check", "follow", "report", "finish")
_NOUNS = ("orders", "steps", "prices", "rooms", "scores", "trips", "readings", "parcels", "seats", "levels")
_LISTS = ("items", "values", "numbers", "rows", "data", "entries", "amounts", "marks")
_RESULTS = ("result", "found", "part", "other", "answer", "kept")


def _code_task() -> MadeTask:
    count = _TRAINING_ROWS + _VALIDATION_ROWS
    rows: dict[str, str] = {}
    number = 0
    while len(rows) < count:
        label = ("yes", "no")[len(rows) % 2]
        rows.setdefault(_function(number, _CHANGES if label == "yes" else _LEAVES), label)
        number += 1
    found = [{"code": code, "label": label} for code, label in rows.items()]
    return MadeTask(
        _table(CODE, found[:_TRAINING_ROWS]), _table(f"{CODE}, validation", found[_TRAINING_ROWS:]), _CODE_TEMPLATE
    )


def _function(number: int, bodies: Sequence[str]) -> str:
    """Returns a function; its body is one of `bodies`, all else depends on its number alone."""
    name = f"{_pick(_VERBS, number, 'verb')}_{_pick(_NOUNS, number, 'noun')}"
    words = {
        "x": _pick(_LISTS, number, "list"),
        "y": _pick(_RESULTS, number, "result"),
        "k": str(_pick(range(2, 10), number, "constant")),
    }
    body = _pick(_BEFORE, number, "before") + _pick(bodies, number, "body")
    return f"def {name}({words['x']}):\n    {body.format(**words)}"


_LONG_TEMPLATE = Template(
    about="Are most of many reviews friendly?",
    fields={"reviews": ("reviews",)},
    prompt="{reviews} Most of it was",
    candidates={"negative": " terrible", "positive": " great"},
)
_AGREEING = 4
"""One review in so many is of the other opinion."""


def _long_reviews(length: int) -> MadeTask:
    """Rows of as many words as a row has tokens, which are more: each fills its row and loses its beginning."""
    lines = [line.split("\t") for line in built_in_reviews().splitlines()[1:]]
    pools: list[dict[str, list[str]]] = [{"0": [], "1": []}, {"0": [], "1": []}]
    for number, (review, label) in enumerate(lines):
        pools[number // 2 % 2][label].append(review)
    train, validation = (
        [_long_row(pool, number, length) for number in range(count)]
        for pool, count in zip(pools, (_TRAINING_ROWS, _VALIDATION_ROWS), strict=True)
    )
    name = f"{LONG_REVIEWS}-{length}"
    return MadeTask(_table(name, train), _table(f"{name}, validation", validation), _LONG_TEMPLATE)


def _long_row(pool: Mapping[str, Sequence[str]], number: int, length: int) -> dict[str, str]:
    label, other = ("1", "0") if number % 2 else ("0", "1")
    reviews: list[str] = []
    words = 0
    while words < length:
        place = len(reviews)
        odd_one = _pick(range(_AGREEING), number, place // _AGREEING, "odd one")
        reviews.append(_pick(pool[other if place % _AGREEING == odd_one else label], number, place))
        words += len(reviews[-1].split())
    return {"reviews": " ".join(reviews), "label": "positive" if label == "1" else "negative"}


def _table(where: str, rows: Sequence[Mapping[str, str]]) -> Table:
    return Table(where, "row", tuple(Row(number, row) for number, row in enumerate(rows, start=1)))


MADE_TASKS: Mapping[str, Callable[[], MadeTask]] = MappingProxyType(
    {
        CODE: functools.cache(_code_task),
        **{f"{LONG_REVIEWS}-{n}": functools.cache(functools.partial(_long_reviews, n)) for n in (512, 1024)},
    }
)
"""Those that are made by rule."""
