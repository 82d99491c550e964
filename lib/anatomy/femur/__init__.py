"""The proximal femur in axial CT."""
