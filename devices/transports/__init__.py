"""How commands and bytes get to a device.

Start at transport.py, the Protocol of all transports. local/ is this machine; ssh/ and adb/ are links to a device's
shell, over which shell/ does the work; hold.py keeps others from using a device at the same time.
"""
