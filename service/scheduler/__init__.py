"""What runs next: legal moves, order, groups, leases, and the loop that applies them."""
