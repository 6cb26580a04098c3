"""What is shown of a row, and how: columns, order, words. Pure."""
