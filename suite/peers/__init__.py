"""Other programs that do a step's work on this host, measured beside the suite's own (docs/peers.md)."""
