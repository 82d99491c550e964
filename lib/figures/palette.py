"""The colours of masks and windows on pages, in pictures, in figures and in 3-D.

Okabe and Ito's sky blue and orange can be told apart with every kind of colour vision, on dark slices too. Bone in
both masks is grey; missed bone (only in the reference) has the reference's colour, added bone (only in the
prediction) the prediction's. Of several structures each has a colour of its own; their references are orange.
"""

Color = tuple[int, int, int]

PREDICTED: Color = (86, 180, 233)
REFERENCE: Color = (230, 159, 0)
BONE: Color = (205, 203, 197)  # both masks, or a prediction without a reference
MISSED, ADDED = REFERENCE, PREDICTED
# the crop window, by the source of its centre: other colours of the same palette
FOUND: Color = (0, 158, 115)
UNCERTAIN: Color = (240, 228, 66)
GIVEN: Color = (204, 121, 167)


# structures of a study with several, in the order of its configuration, again from the first after the last
STRUCTURES: tuple[Color, ...] = (PREDICTED, FOUND, GIVEN, UNCERTAIN, (213, 94, 0), (0, 114, 178))


def structure_color(position: int) -> Color:
    """Return the colour of a structure by its position, from 0."""
    return STRUCTURES[position % len(STRUCTURES)]


def css(color: Color) -> str:
    """Return a colour as CSS and Matplotlib write it, such as `#56b4e9`."""
    return "#{:02x}{:02x}{:02x}".format(*color)
