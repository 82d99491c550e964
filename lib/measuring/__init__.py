"""A prediction's masks and everything that is measured of them."""
