import tokenize
from pathlib import Path

import pytest
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateTable

import suite.store
from suite.store.schema import metadata

PACKAGE = Path(suite.store.__file__).parent
SQLITE_WORDS = ("sqlite3", "PRAGMA", "ON CONFLICT", "INSERT OR", "BEGIN IMMEDIATE", "RAISE(", "rowid")


def code_of(path):
    """A module without its comments and the strings that stand alone (docstrings)."""
    kept, previous = [], tokenize.NEWLINE
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            alone = token.type == tokenize.STRING and previous in (tokenize.NEWLINE, tokenize.INDENT, tokenize.NL)
            if token.type != tokenize.COMMENT and not alone:
                kept.append(token.string)
            previous = token.type
    return " ".join(kept)


def test_two_modules_know_sqlite():
    found = {path.name for path in PACKAGE.glob("*.py") if any(word in code_of(path) for word in SQLITE_WORDS)}
    assert found == {"dialect.py", "journal.py"}


@pytest.mark.parametrize("table", metadata.sorted_tables, ids=lambda table: table.name)
def test_every_table_can_be_made_in_postgresql_without_losing_precision(table):
    statement = str(CreateTable(table).compile(dialect=postgresql.dialect()))
    assert "STRICT" not in statement
    assert " REAL" not in statement
    assert " INTEGER" not in statement


@pytest.mark.parametrize("table", metadata.sorted_tables, ids=lambda table: table.name)
def test_every_table_is_strict_in_sqlite(table):
    statement = str(CreateTable(table).compile(dialect=sqlite.dialect()))
    assert statement.rstrip().endswith("STRICT")
