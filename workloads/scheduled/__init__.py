"""Methods whose updates build on several steps: momentum, AdaZeta's query schedule, and the anchor of MeZO-SVRG.

Start at schedules.py; their steps are P-RGE's with additional state.
"""
