"""Find a learning rate, and compare several."""
