"""Features and matches in COLMAP's database."""

from superpoint.reconstruction.database import write_database

__all__ = ["write_database"]
