"""A campaign against the suite: kills, full disks, damaged files, odd requests. `make campaign`; docs/promises.md."""
