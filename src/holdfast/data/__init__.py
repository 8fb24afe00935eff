"""Logged data: episodes in columns, sources that read them, checks, treatments and the columns that training reads."""

from .dataset import Dataset as Dataset
from .sources import load_dataset as load_dataset
