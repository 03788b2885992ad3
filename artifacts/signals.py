"""Signals for apps that build on artifacts."""

from django.dispatch import Signal

# Sent by Artifact with ``artifact`` and ``value`` (TagValue), in the transaction that tags it.
checkpoint_tagged = Signal()
