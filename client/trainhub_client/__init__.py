"""The command line of TrainHub for other machines. Imports nothing of the server."""

__version__ = "0.1.0"
