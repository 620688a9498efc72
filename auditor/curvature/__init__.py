"""What the derivative of a gradient is taken to be inside a step's Jacobian."""
