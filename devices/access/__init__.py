"""Access to devices: locking, reaching, holding, inspecting and enrolling them.

Start at connect.py; inspection.py is behind `suite devices check`, enrollment.py behind `suite devices enroll`.
"""
