"""Where the time of a training step goes on a device: `suite profile`.

Start at session.py; attribution.py joins what the runner has timed with what the program computes.
"""
