"""Figures as plotly traces and layouts.

Start at panels.py, the look shared by all; run_figures.py has those of a run.
"""
