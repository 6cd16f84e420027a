"""Images, samples and labels."""
