"""Charts: which there are, the curves they draw, and what is marked on their axis."""
