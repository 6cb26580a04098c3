"""Whole screens: they arrange widgets and own the keys."""
