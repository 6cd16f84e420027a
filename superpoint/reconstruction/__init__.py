"""Many photographs: pairs, matches, the database of COLMAP, the model."""
