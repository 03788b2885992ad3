"""Signals that projects send, for apps that are not imported here."""

from django.dispatch import Signal

# Sent in the transaction that makes an archived project active or a draft again, with ``project``.
project_reopened = Signal()
