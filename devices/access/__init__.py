"""The way in: locked, reached, held, inspected, enrolled.

Start at connect.py; inspection.py is behind `suite devices check`, enrollment.py behind `suite devices enroll`.
"""
