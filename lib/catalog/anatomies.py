"""The anatomies that a study can measure, as data."""

# parts of the proximal femur, from above
LEVELS = ("head", "neck", "trochanter", "shaft")
