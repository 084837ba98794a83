"""Plans what will be measured, before any work is done.

Start at plan.py; plan_file.py reads plans from files, forecast.py checks whether devices and time suffice.
"""
