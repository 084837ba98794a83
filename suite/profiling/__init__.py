"""Where the time of a training step goes on a device: `suite profile`.

Start at session.py; attribution.py joins what the runner has timed with what the program computes. peaks.py measures
what a device does at best, roofline.py holds the one against the other.
"""
