"""Images: grids, resampling, cropping, thresholding, volumes."""
