"""Tables as data sets: CSV, Parquet and data frames, with the roles of their columns."""
