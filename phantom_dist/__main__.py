"""`python -m phantom_dist` is `phantom-dist`."""

from phantom_dist.cli import main

main()
