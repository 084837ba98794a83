"""What all packages share: it imports none of them, and nothing heavy.

errors.py        errors that a user can fix, among them the one for an unknown name
text.py          text from devices and people, made safe for messages; suggestions for misspelt names
foreign_files.py files that somebody else wrote: regular ones, of at most so many bytes
bounded_json.py  JSON from such a file, its numbers, nesting and size bounded first
yaml_lines.py    YAML files as plain values, each with its line
validation.py    what pydantic finds wrong in such a file, as one sentence
atomic.py        files that appear whole or not at all
unavailable.py   a value that was not measured, with its reason
pip.py           a package's file, fetched through pip
compiler.py      the C++ compiler of this host
"""
