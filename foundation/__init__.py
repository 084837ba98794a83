"""What all packages share. It imports none of them, and nothing heavy.

errors.py        errors that a user can fix, among them the one for an unknown name
text.py          text from devices and people, made safe for messages; suggestions for misspelt names; rounded numbers
foreign_files.py files that somebody else wrote: regular ones up to a size limit, and bounded JSON
yaml_lines.py    YAML files as plain values, each with its line; pydantic's complaints about them as one sentence
atomic.py        files that appear complete or not at all
unavailable.py   a value that was not measured, with its reason
plugins.py       what other packages add by entry points: found without importing, loaded on request
causes.py        the line of a failing program's output that names the cause
host_tools.py    the C++ compiler of this host, and package files fetched through pip
"""
