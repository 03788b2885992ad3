"""A cluster under a simulated clock: the real scheduler and database, imagined workers.

``trace`` says which jobs come, ``sandbox`` gives them tables and a clock of their own, ``cluster``
plays users and workers, ``results`` and ``report`` tell how it went.
"""
