"""The site on disk and over HTTP.

Start at build.py; writing.py has the folder, the templates and the rules for rebuilding, serving.py the server.
"""
