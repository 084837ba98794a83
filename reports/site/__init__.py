"""The site on the disk and over HTTP.

Start at build.py; writing.py has the folder, the templates and what is built again, serving.py the server.
"""
