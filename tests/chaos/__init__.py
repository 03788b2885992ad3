"""Breaks a running TrainHub in every way that we know of, and measures what users notice.

``make chaos`` writes docs/reliability.md. Not part of ``make test``: it takes a quarter of an hour.
"""
