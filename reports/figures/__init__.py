"""Figures as plotly traces and layouts.

Start at panels.py, the look that all share; run_figures.py puts together those of a run.
"""
