"""Which run is next.

``policy`` decides, without a database, over a queue and the GPUs of a pool; ``claiming`` applies
it to the tables, ``explanation`` tells why a run waits, ``forecast`` when it will start.
"""
