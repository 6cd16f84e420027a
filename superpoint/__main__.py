"""`python -m superpoint` is the console command."""

from superpoint.cli import main

main()
