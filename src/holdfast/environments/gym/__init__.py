"""Gymnasium environments: making them, stepping many of them, in this process or in workers."""
