"""The server's half of launchers that share no directory with the worker.

A launcher's node sends what grows in its attempt directory (execution/launcher/mirror.py); the
server keeps it until the worker that holds the run has written it into its own attempt directory,
from which it is ingested like any other.
"""
