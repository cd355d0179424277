"""An example of a package that adds to phantom_dist."""
