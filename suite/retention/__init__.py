"""What may go from the host and from devices, and what never does.

Start at survey.py; needed_programs.py has what future nights measure again, removal.py removes.
"""
