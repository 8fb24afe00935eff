"""What a run looks like: a table, a picture of its learning curve, one HTML page."""
