"""Tasks: labelled texts, and how they become the rows for training and evaluation.

rows.py        a data file's rows, whatever its format; delimited.py has the dialects of TSV and CSV
template.py    how a row becomes a prompt with candidates: the YAML files in templates/
recognition.py which template reads a file
labelled.py    turns rows into labelled texts
task.py        start here: a task from a name, a file or a folder (source.py)
encoding.py    labelled texts as token ids, and one row of them
batches.py     batches of one shape (for measuring) or as long as needed; the split into training and validation
evaluation.py  the rows of an evaluation, and accuracy from their losses
"""
