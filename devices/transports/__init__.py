"""How commands and bytes get to a device.

Start at transport.py, the Protocol that all ways share. local/ is this machine; ssh/ and adb/ are links over which
shell/ does the same work; hold.py keeps others from using a device meanwhile.
"""
