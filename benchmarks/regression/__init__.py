"""Seeded noise, what the rules do to it, and what the rules of public tools do to the same numbers."""
