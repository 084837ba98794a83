"""Devices under test: how they are named, reached, checked, read and given files. Knows nothing of models."""
