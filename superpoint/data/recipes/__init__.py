"""Recipes that fetch public data sets: download, check, unpack."""
