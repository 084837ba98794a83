"""A static site of what was measured: an index of the runs and one page for each.

The way in is :func:`reports.site.build`; what it reads is described by :class:`reports.source.ReportSource`.
"""
