"""The orchestrator: plans, prepares, measures, judges, stores and reports training steps on devices.

The path of a run: planning/, preparing/, measuring/ (start at orchestrate.py there), sessions/ and energy/, results/,
store/, report_data/. cli/ is the command line, nightly/ and regression/ judge, schedule/ starts nights by a timer.
"""
