"""Planning a run: everything that can be refused is refused here, before anything is compiled."""
