"""Signals for apps that build on artifacts."""

from django.dispatch import Signal

# Sent by Artifact before it is tagged, in the transaction that does it and with its row locked:
# ``artifact``, ``value`` (TagValue), and ``by`` and ``approval`` as Artifact.tag was given them.
# Receivers refuse by raising a DomainError.
checkpoint_tagging = Signal()

# Sent by Artifact with ``artifact``, ``value`` (TagValue) and ``by`` (None: TrainHub), in the
# transaction that tags it.
checkpoint_tagged = Signal()

# Sent by Artifact with ``artifact``, a checkpoint, in the transaction that gives it other bytes.
checkpoint_changed = Signal()

# Sent with ``artifact`` and ``run`` when other bytes are uploaded to the path of a checkpoint, or
# into its folder, in the transaction that records them with the run's row locked. The artifact has
# the new bytes, or another path if its own bytes are in use.
checkpoint_renewed = Signal()

# Sent with ``run`` and ``path`` before a file is stored there, or what is at or below it (empty:
# all uploaded files) is deleted, in the transaction that does it and with the run's row locked.
# Receivers refuse by raising InUse.
files_changing = Signal()

# Sent with ``checkpoints`` (Considered, of protection.py) whose removal is considered, and
# ``by_person``: whether a person removes them, not a policy. Receivers answer which must stay, and
# why: id -> a list of texts. If it is about to be done, their rows are locked.
checkpoint_protection = Signal()
