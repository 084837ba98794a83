"""Rows of a data file, whatever its format: TSV, CSV, JSON, JSON Lines or Parquet, as GLUE, SuperGLUE, pandas and
the Hugging Face datasets write them.

Names of columns are converted to lower case, as exports differ in this.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from foundation.errors import UserError, listed
from foundation.foreign_files import open_regular, parse_json, read_regular
from foundation.text import printable
from foundation.unavailable import Json
from workloads.tasks.delimited import Cells, read_csv, read_tsv
from workloads.tasks.table import MOST_CELLS, MOST_ROWS, Row, Table, is_too_many, require_few, too_many

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

#: In a large file, this share of rows may be damaged; they are left out and counted. (GLUE's QQP has some.)
DAMAGED_SHARE = 0.001
#: The largest published task is MNLI with 80 MB.
MOST_BYTES = 256 << 20
MOST_TEXT_CHARS = 1 << 20
_ROWS_AT_ONCE = 1024


def read_table(path: Path, known: Collection[str]) -> Table:
    """Reads a file according to its ending; `known` are the names that identify the header of a delimited file.

    Raises `UserError`, with the line's number if there is one, for a file that can't be read, has another format, is
    damaged or exceeds a limit.
    """
    ending, where = path.suffix.lower(), str(path)
    if ending == ".parquet":
        return _read_parquet(path)
    readers: dict[str, Callable[[str], Table]] = {
        ".tsv": lambda text: _delimited(read_tsv(text, where), where, known),
        ".csv": lambda text: _delimited(read_csv(text, where, known), where, known),
        ".json": lambda text: _read_json(text, where, known),
        ".jsonl": lambda text: _read_json_lines(text, where),
    }
    readers |= {".txt": readers[".tsv"], ".ndjson": readers[".jsonl"]}
    if ending not in readers:
        named = f"ends with {path.suffix!r}" if path.suffix else "has no file extension"
        raise UserError(f"{path} {named}: a task is a .tsv, .csv, .jsonl, .json or .parquet file.")
    return readers[ending](_read_text(path))


def read_tsv_text(text: str, where: str, known: Collection[str]) -> Table:
    """Returns the rows of a TSV text, as `read_table` does."""
    return _delimited(read_tsv(text, where), where, known)


def _read_text(path: Path) -> str:
    try:
        data = read_regular(path, what="a task", limit_bytes=MOST_BYTES, advice="keep a part of it")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 (byte {error.object[error.start]:#04x} at offset {error.start}): convert it to UTF-8."
        ) from error
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): check the path of the task file.") from error


def _delimited(rows: list[Cells], where: str, known: Collection[str]) -> Table:
    if not rows:
        return Table(where, "line", ())
    require_few(len(rows), len(rows[0][1]), where)
    header = [cell.strip().casefold() for cell in rows[0][1]]
    has_names = _is_header(header, known)
    names = _distinct(header, where) if has_names else [str(index) for index in range(1, len(header) + 1)]
    body = rows[1:] if has_names else rows
    odd = [(line, cells) for line, cells in body if len(cells) != len(names)]
    notes: tuple[str, ...] = ()
    if odd:
        line, cells = odd[0]
        if len(odd) > DAMAGED_SHARE * len(body):
            raise UserError(
                f"{where}: line {line} has {len(cells)} columns instead of {len(names)}: correct or remove the line."
            )
        notes = (f"{len(odd)} of {len(body)} rows of {where} differ in columns and are left out, first line {line}",)
    whole = [Row(line, dict(zip(names, cells, strict=True))) for line, cells in body if len(cells) == len(names)]
    for row in whole:
        if sum(map(len, row.values.values())) > MOST_TEXT_CHARS:
            raise _too_long(where, "line", row.line)
    return Table(where, "line", tuple(whole), has_names, notes)


def _is_header(cells: Sequence[str], known: Collection[str]) -> bool:
    """Returns True for a line with two known names, or with one and no number."""
    count = sum(cell in known for cell in cells)
    return count >= 2 or (count == 1 and not any(_is_number(cell) for cell in cells))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _distinct(names: list[str], where: str) -> list[str]:
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{where} has {names.count(twice)} columns called {printable(twice)!r}: rename or remove one.")
    return names


def _read_json_lines(text: str, where: str) -> Table:
    rows = []
    require_few(text.count("\n"), 1, where)
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = parse_json(line.encode(), finite=False)
        except ValueError as error:
            raise UserError(f"{where}: line {number} is not JSON ({error}): each line must be one object.") from error
        rows.append(_row(entry, number, "line", where))
    return Table(where, "line", tuple(rows))


def _read_json(text: str, where: str, known: Collection[str]) -> Table:
    """Reads one JSON document, or JSON Lines, which `Dataset.to_json` also calls .json."""
    if not text.strip():
        return Table(where, "entry", ())
    try:
        document = parse_json(text.encode(), most_values=3 * MOST_CELLS, most_keys=MOST_ROWS, finite=False)
    except ValueError as error:
        if "\n" not in text.strip():
            raise UserError(f"{where} is not JSON ({error}): write one object for each example.") from error
        return _read_json_lines(text, where)
    try:
        entries = _entries(document, known)
        require_few(len(entries), 1, where)
    except ValueError as error:
        raise UserError(f"{where} has {error}: write one object for each example, as in JSON Lines.") from error
    rows = [_row(entry, number, "entry", where) for number, entry in enumerate(entries, start=1)]
    return Table(where, "entry", tuple(rows))


def _entries(document: Json, known: Collection[str]) -> Sequence[Json]:
    """Returns the objects of a JSON document in one of the shapes that pandas and the datasets library write.

    Raises ValueError, whose message is what it has instead.
    """
    if isinstance(document, list):
        return document
    if not isinstance(document, dict):
        raise ValueError("no list of objects")
    columns, data = document.get("columns"), document.get("data")
    if isinstance(columns, list) and isinstance(data, list):
        if not all(isinstance(entry, list) and len(entry) == len(columns) for entry in data):
            raise ValueError(f"`data` whose entries are not all lists of {len(columns)} values, as `columns` has")
        return [dict(zip(map(str, columns), entry, strict=True)) for entry in data]
    if isinstance(data, list):
        return data
    names = {str(name).casefold() for name in document}
    inner = list(document.values())
    if inner and all(isinstance(value, list) for value in inner) and names & set(known):
        if len({len(value) for value in inner}) > 1:
            raise ValueError(f"lists of different lengths ({listed(str(len(value)) for value in inner)})")
        return [dict(zip(document, entry, strict=True)) for entry in zip(*inner, strict=True)]
    if inner and all(isinstance(value, dict) for value in inner):
        if not names & set(known):
            return inner
        indices = dict.fromkeys(index for column in inner for index in column)
        if is_too_many(len(indices), len(inner)):
            raise ValueError(too_many())
        return [{name: column.get(index) for name, column in document.items()} for index in indices]
    return [document]


def _read_parquet(path: Path) -> Table:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(
            f"{path} needs pyarrow, which is not installed: run `pip install 'edge-training-suite[parquet]'`, or give "
            "the task as CSV or JSON Lines."
        ) from error
    try:
        with open_regular(path, what="a task", limit_bytes=MOST_BYTES, advice="keep a part of it") as stream:
            content = _read_batches(_open_parquet(stream), str(path))
    except OSError as error:
        reason = printable(error.strerror or str(error), 120)
        raise UserError(f"{path} can't be read ({reason}): check the path of the task file.") from error
    except (ValueError, pyarrow.ArrowException) as error:
        raise UserError(
            f"{path} is not a complete Parquet file ({printable(str(error), 120)}): export or copy it again."
        ) from error
    _distinct([name.strip().casefold() for name in content.column_names], str(path))
    try:
        entries = content.to_pylist()
    except (ValueError, OverflowError, pyarrow.ArrowException) as error:
        raise UserError(
            f"{path} has values that can't be read ({printable(str(error), 120)}): correct or remove their column."
        ) from error
    names = _class_names(content.schema.metadata or {})
    rows = []
    for number, entry in enumerate(entries, start=1):
        named = {column: _named(value, names.get(column)) for column, value in entry.items()}
        rows.append(_row(named, number, "row", str(path)))
    return Table(str(path), "row", tuple(rows))


def _open_parquet(stream: BinaryIO) -> pyarrow.parquet.ParquetFile:
    """Opens a file with texts inside lists read as references, as a single row can contain the same text many times."""
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(stream)
    columns = [file.schema.column(index) for index in range(file.metadata.num_columns)]
    inside = [each.path for each in columns if each.max_repetition_level and each.physical_type == "BYTE_ARRAY"]
    if not inside:
        return file
    return pyarrow.parquet.ParquetFile(stream, metadata=file.metadata, read_dictionary=inside)


def _read_batches(file: pyarrow.parquet.ParquetFile, where: str) -> pyarrow.Table:
    """Returns all rows, which may take MOST_BYTES when decompressed: a small file can contain very much."""
    import pyarrow

    metadata, columns = file.metadata, range(file.metadata.num_columns)
    require_few(metadata.num_rows, metadata.num_columns, where)
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    chunks = [(group.column(index), file.schema.column(index)) for group in groups for index in columns]
    if sum(chunk.num_values for chunk, _ in chunks) > MOST_CELLS:
        raise UserError(f"{where}, including the contents of its lists, has {too_many()}: keep a part of it.")
    sizes = [max(chunk.total_uncompressed_size, chunk.num_values * column.length) for chunk, column in chunks]
    batches, size = [], sum(sizes)
    too_large = UserError(f"{where} has more than {MOST_BYTES} bytes, decompressed: keep a part of it.")
    if size > MOST_BYTES:
        raise too_large
    # A text shared by many rows is stored once, and could be as long as its whole column.
    rows_at_once = max(1, min(_ROWS_AT_ONCE, MOST_BYTES // max([1, *sizes])))
    size = 0
    for batch in file.iter_batches(batch_size=rows_at_once):
        size += sum(_text_bytes(leaf) for column in batch.columns for leaf in _leaves(column))
        if size > MOST_BYTES:
            raise too_large
        batches.append(batch)
    return pyarrow.Table.from_batches(batches, file.schema_arrow)


def _leaves(array: pyarrow.Array) -> Iterator[pyarrow.Array]:
    """Yields the contents of all lists and objects of an array."""
    import pyarrow

    kind = pyarrow.types
    if not kind.is_nested(array.type):
        yield array
        return
    if kind.is_map(array.type):
        inner = [array.keys, array.items]
    else:
        inner = array.flatten() if kind.is_struct(array.type) else [array.flatten()]
    for each in inner:
        yield from _leaves(each)


def _text_bytes(leaf: pyarrow.Array) -> int:
    """Returns the size of an array with every text counted separately, including shared ones."""
    import pyarrow
    from pyarrow import compute

    kind = pyarrow.types
    texts = (kind.is_string, kind.is_large_string, kind.is_binary, kind.is_large_binary)
    if not kind.is_dictionary(leaf.type) or not any(is_text(leaf.type.value_type) for is_text in texts):
        return int(leaf.nbytes)
    return int(compute.sum(compute.binary_length(leaf.dictionary).take(leaf.indices)).as_py() or 0)


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Returns the class names by column, which the datasets library stores beside their numbers."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return {
            column: feature["names"]
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _named(value: object, names: Sequence[str] | None) -> object:
    is_class = names is not None and isinstance(value, int) and 0 <= value < len(names)
    return names[value] if is_class and names is not None and isinstance(value, int) else value


def _row(entry: object, number: int, unit: str, where: str) -> Row:
    if not isinstance(entry, dict):
        raise UserError(
            f'{where}: {unit} {number} should be an object, such as {{"text": "...", "label": 1}}, not '
            f"{printable(json.dumps(entry), 40)}."
        )
    try:
        return Row(number, _folded(entry))
    except ValueError as error:
        raise _too_long(where, unit, number) from error


def _too_long(where: str, unit: str, number: int) -> UserError:
    return UserError(f"{where}: {unit} {number} has a text of more than {MOST_TEXT_CHARS} characters: shorten it.")


def _folded(value: object) -> Any:
    """Returns the value with all names in lower case and bytes decoded where they are text, at every level. Raises
    ValueError for too long a text.
    """
    if isinstance(value, bytes):
        with contextlib.suppress(UnicodeDecodeError):
            value = value.decode()
    if isinstance(value, str) and len(value) > MOST_TEXT_CHARS:
        raise ValueError
    if isinstance(value, dict):
        return {str(name).strip().casefold(): _folded(inner) for name, inner in value.items()}
    return [_folded(inner) for inner in value] if isinstance(value, list) else value
