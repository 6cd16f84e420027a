"""What a detector puts out, drawn cell by cell: arrays in, figures out."""
