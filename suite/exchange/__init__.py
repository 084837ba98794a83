"""The store's numbers for other programs and other labs: tables, documents that can be imported, traces."""
