"""What a comparison of runs says: plain data and rules, without models and requests."""
