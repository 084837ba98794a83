"""Compares the suite's steps with other programs that do the same work on this host (docs/peers.md)."""
