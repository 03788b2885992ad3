"""nginx in front of the web server: it takes requests whole before one of our threads sees them.

A WSGI server spends a thread on a request as soon as its header is there, and waits in it for the
body. nginx waits for thousands of bodies, and for clients that read slowly, without threads.
"""
