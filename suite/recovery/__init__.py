"""Rebuilds a store from its journal."""
