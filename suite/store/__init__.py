"""Everything that was measured, in one SQLite file: committed session by session, never rewritten.

`Store` writes and resumes, `history` reads series over runs, `source.StoreSource` is what reports are made from.
"""

from suite.store.store import Progress, Store

__all__ = ["Progress", "Store"]
