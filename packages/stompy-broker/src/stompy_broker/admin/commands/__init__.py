"""What operators can order, and how each order is carried out."""
