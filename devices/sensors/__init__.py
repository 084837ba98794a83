"""Sensors of devices: where a number comes from, in which unit, and why one isn't there."""
