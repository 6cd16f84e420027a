"""Images with one class each: where they come from, what they go through, and how a training run sees them."""
