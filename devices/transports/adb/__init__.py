"""Devices over adb: phones on a cable or the network, through the adb server of this host.

Start at link.py; attachment.py finds the phone, server.py talks to the adb server.
"""
