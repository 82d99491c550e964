"""What a study can look at, as data."""

# parts of the proximal femur, from above
LEVELS = ("head", "neck", "trochanter", "shaft")
