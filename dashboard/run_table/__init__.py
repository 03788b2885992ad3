"""The table of a project's runs: what it shows is in its address, as plain data.

``address``: the query of the page, parsed. ``columns``: the columns there are to choose.
``search``: the filter language; ``times``: dates in it. ``query``: what views read from the
database: names, a page of rows, groups, ids. It asks ``matching`` which runs an address is about,
which finds indexed runs by ``indexed``; SQL is in ``*_queries``. ``table``: what templates draw;
``cells``: values as text. ``completion``: what the filter may go on with.
"""
