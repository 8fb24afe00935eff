"""The results of a run as a table, a picture of the learning curve, and an HTML page."""
