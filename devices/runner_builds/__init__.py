"""Building the runner, for this host or for boards and phones.

Start at build.py; bundle.py adds what a device without any libraries needs.
"""
