"""Regression statistics as pure functions: numbers in, verdicts out; nothing here knows a device or the store.

screen.py            is tonight's point unlike its own history?  (cheap, every series, every night)
first_look.py        three fresh pairs of baseline and candidate: is it worth ten more?
confirmation.py      ten further pairs, tested exactly: did the code change the number?
device_state.py      was the device in the same state both times?
verdict.py           all of that, corrected for many series (Benjamini-Hochberg): `regressed`, `improved`, `unchanged`,
                     `inconclusive` or `insufficient`
segments.py          what of a history may be compared at all
change_points.py     where the level moved, over the whole history
drift.py             the small steps that add up
comparison.py        two sets of sessions that were not measured in pairs
"""
