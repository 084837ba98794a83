"""What may be removed from the host and from devices, and what never is.

Start at survey.py; needed_programs.py has what future nights measure again.
"""
