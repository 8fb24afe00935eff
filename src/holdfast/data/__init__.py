"""Logged data: episodes in columns, sources that read them, checks, treatments and the columns that training reads."""
