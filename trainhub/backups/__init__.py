"""Backups: the database and all that it refers to in the storage, as of one moment.

See docs/adr/0033-backups.md and docs/operations.md.
"""
