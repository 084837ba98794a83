"""A night: measure the plan, screen every series, measure suspects again beside their baseline, judge, and tell.

evidence.py    from stored points to what `suite.regression` judges
baselines.py   which program and runner a suspect is compared with
pairs.py       sessions of candidate and baseline in turn, as numbers in pairs
judging.py     screening, first look, confirmation, verdicts
night.py       the whole night, and what came of it
"""
