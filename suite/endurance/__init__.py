"""What a long session shows that a short one can't: memory that grows, and steps that get slower with heat.

memory.py judges the memory in use over steps, pace.py the step times beside clock, heat and power.
"""
