"""A store made anew from its journal."""
