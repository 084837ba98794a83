"""Deploys files to a device by content: nothing is copied twice or left incomplete.

Start at deploy.py; cache.py decides what is kept there, built_runner.py describes a runner that is ready to deploy.
"""
