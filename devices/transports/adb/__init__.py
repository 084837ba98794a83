"""Devices over adb: phones on a cable or the network, through this host's adb server.

Start at link.py; attachment.py finds the phone, server.py talks to the adb server.
"""
