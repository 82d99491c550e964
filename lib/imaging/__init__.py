"""Images: reading and screening, grids, resampling, cropping, thresholding, volumes."""
