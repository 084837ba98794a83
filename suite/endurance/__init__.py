"""Measures what only a long session reveals: memory that grows, and steps that get slower with heat.

memory.py judges the use of memory over steps, pace.py the step times, together with clock, heat and power.
"""
