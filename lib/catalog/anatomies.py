"""The anatomies that a study can measure, as data."""

# regions of the proximal femur, from proximal to distal
LEVELS = ("head", "neck", "trochanter", "shaft")
