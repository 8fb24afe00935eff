"""The shipped artefact: policies that act on raw observations, and trees of arrays on disk."""
