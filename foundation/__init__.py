"""What all packages stand on: it imports none of them, and nothing heavy.

errors.py        errors that a user can mend, and the one for a name that nobody knows
text.py          text from devices and people in messages, and the names they may have meant
atomic.py        files that are whole or not there
unavailable.py   a value that was not measured, with its reason
pip.py           a package's file, fetched through pip
compiler.py      the C++ compiler of this host
"""
