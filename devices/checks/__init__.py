"""What a device is and whether it is fit to be measured.

Start at facts.py (identity and state), then preflight.py (checks and how to fix what they find).
"""
