"""The law: numbers measured on a few points of a path in, a critical learning rate with an interval out."""
