"""Movie reviews with human ratings (Hutto & Gilbert 2014, MIT licence), out of a package that is fetched once.

A snippet of a review has the mean rating of twenty people, from -4 to 4. Those beyond half a point are examples.
"""

from __future__ import annotations

from collections.abc import Callable

from foundation.errors import UserError
from workloads.models.named import PackagedFile
from workloads.models.zoo import fetch
from workloads.tasks.table import Row, Table

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
