"""The colours of masks and windows wherever they are drawn: on pages, in pictures, in figures and in 3-D.

Sky blue and orange of Okabe and Ito are told apart with every kind of colour vision, on dark slices too. Where both
masks agree stands the grey of bone; what only one of them holds has its colour: missed bone is the reference's alone,
added bone the prediction's.
"""

Color = tuple[int, int, int]

PREDICTED: Color = (86, 180, 233)
REFERENCE: Color = (230, 159, 0)
BONE: Color = (205, 203, 197)  # both masks, or a prediction without a reference
MISSED, ADDED = REFERENCE, PREDICTED
# the window of a hip is no mask: by what its centre rests on, in others of these colours
FOUND: Color = (0, 158, 115)
UNCERTAIN: Color = (240, 228, 66)
GIVEN: Color = (204, 121, 167)


def css(color: Color) -> str:
    """Return a colour as styles and Matplotlib write it, such as `#56b4e9`."""
    return "#{:02x}{:02x}{:02x}".format(*color)
