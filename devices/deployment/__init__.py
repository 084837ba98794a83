"""Files onto a device, by content: nothing twice, nothing half.

Start at deploy.py; cache.py decides what stays there, built_runner.py is a runner ready to be placed.
"""
