"""What all tests share: the twins, devices that need no hardware (docs/twins.md)."""

from __future__ import annotations

import os
import signal

# Threads of torch that wait for each other spin, and on cores that others use too they wait long: half a second of
# computing on a tiny model becomes ten. Workers have a core each at best. What tests start inherits this.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts what it puts into the background with SIGINT ignored, and children inherit that: Ctrl-C is tested here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tests.support.twins.twin_fixtures"]
