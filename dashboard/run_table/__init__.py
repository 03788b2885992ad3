"""The table of a project's runs: what it shows is in its address, as plain data.

``address``: the query of the page, parsed. ``columns``: the columns there are to choose.
``search``: the filter language. ``query``: reads rows, groups and ids from the database; no other
module does. ``cells``: values as text. ``completion``: what the filter may go on with.
"""
