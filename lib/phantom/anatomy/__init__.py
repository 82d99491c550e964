"""Bodies: shapes, tissues, posture and truth, whatever scanner looks at them."""
