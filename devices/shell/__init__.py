"""Devices that are reached through a POSIX shell: all of `Transport` over a link that can start `sh`.

`ssh` is such a link and `adb` can be one. A call starts `sh` and writes the script to its input, so that nothing
depends on the user's login shell and no argument list grows too long. Every value in a script is quoted by
`devices.shell.quoting`, and output is believed only between marks that carry a number drawn for the call.
"""
