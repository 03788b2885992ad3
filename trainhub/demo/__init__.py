"""Demo data: three projects of a team, with the history that a few weeks of work leave behind.

``manage.py load_demo`` loads it. It is written through the product's own functions; only its times
are moved to the past.
"""
