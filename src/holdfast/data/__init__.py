"""Logged data: data sets of episodes, the sources that read them, checks, and the columns that training reads."""

from .dataset import Dataset as Dataset
from .sources import load_dataset as load_dataset
