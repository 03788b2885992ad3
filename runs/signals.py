"""Signals for apps that build on runs."""

from django.dispatch import Signal

# Sent with ``run`` when its current attempt has ended and another is to begin, before anything of
# it is changed: in the transaction that begins the next one, with the run's row locked.
attempt_ending = Signal()

# Sent with ``run`` and ``event`` (RunEvent), in the transaction that records the event.
run_noted = Signal()

# Sent with ``runs``, a queryset, in the transaction that moves them to the trash, before any row is
# locked. A receiver refuses by raising a DomainError.
runs_deleting = Signal()

# Sent with ``run``, not saved yet, in the transaction that creates it: one that a worker is to
# execute. A receiver refuses by raising a DomainError.
run_admitting = Signal()

# Sent with ``run`` in the transaction in which its work has ended well, with its row locked.
run_completed = Signal()
