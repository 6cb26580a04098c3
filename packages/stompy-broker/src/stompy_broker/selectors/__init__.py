"""Selectors: what a consumer says of the headers of the messages that it wants.

A text is read once, becomes one Python function, and is shared by all who say the same.
"""
