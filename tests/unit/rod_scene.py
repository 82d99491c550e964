"""CT volumes with a density phantom: rods in plastic on a table, under a body; numpy only."""

import numpy as np
import SimpleITK as sitk

from lib.phantom_file import check_certificates

MINDWAYS = {
    "scale": "k2hpo4",
    "rods": [
        {"density_mg_cm3": -51.83, "water_mg_cm3": 1012.25},
        {"density_mg_cm3": -53.40, "water_mg_cm3": 1056.95},
        {"density_mg_cm3": 58.88, "water_mg_cm3": 1103.57},
        {"density_mg_cm3": 157.05, "water_mg_cm3": 1119.52},
        {"density_mg_cm3": 375.83, "water_mg_cm3": 923.20},
    ],
    "rod_radius_mm": 9.0,
    "rod_distance_mm": 32.0,
    "may_lie_reversed": True,
}
CAHA = {
    "scale": "caha",
    "rods": [{"density_mg_cm3": 100}, {"density_mg_cm3": 400}, {"density_mg_cm3": 800}],
    "rod_radius_mm": 9.0,
    "rod_distance_mm": 30.0,
}
RODS_HU = (-71.0, -29.0, 198.0, 371.0, 525.0)  # of the Mindways certificate: slope 1.3846, intercept -0.59
PLASTIC_HU, AIR_HU = 25.0, -1000.0
SIZE_MM_XY = (300.0, 260.0)
PHANTOM_MM = (0.0, 90.0)  # centre (x, y) in the patient


def certificate(entry=MINDWAYS, **changed):
    """Return the certificate of an entry of phantoms.yaml, with some of its keys changed."""
    return check_certificates({"p": entry | changed}, "phantoms.yaml")["p"]


def shown_hu(entry, slope, intercept_hu):
    """Return what a scanner shows of the rods whose calibration has this slope and intercept."""
    return tuple(
        (slope + 0.2174) * rod["density_mg_cm3"] + intercept_hu - 999.6 + rod["water_mg_cm3"]
        if "water_mg_cm3" in rod
        else slope * rod["density_mg_cm3"] + intercept_hu
        for rod in entry["rods"]
    )


class RodScene:
    """A volume to draw into; `image` gives the CT. Rotations are about x and z, in degrees."""

    def __init__(self, *, pixel_mm=0.9, slices=28, slice_mm=3.0, size_mm_xy=SIZE_MM_XY, turned=(0.0, 0.0)):
        self.grid = sitk.Image([round(size / pixel_mm) for size in size_mm_xy] + [slices], sitk.sitkInt16)
        self.grid.SetSpacing((pixel_mm, pixel_mm, slice_mm))
        x, z = np.radians(turned)
        about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
        about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
        direction = about_x @ about_z
        self.grid.SetDirection(direction.ravel().tolist())
        half = 0.5 * (np.array(self.grid.GetSize()) - 1) * self.grid.GetSpacing()
        self.grid.SetOrigin((-direction @ half).tolist())
        index = np.meshgrid(
            *(np.arange(n) * s for n, s in zip(self.grid.GetSize(), self.grid.GetSpacing(), strict=True))
        )
        index = [np.transpose(axis, (2, 0, 1)) for axis in index]
        self.x, self.y, self.z = (
            self.grid.GetOrigin()[row] + sum(direction[row, column] * index[column] for column in range(3))
            for row in range(3)
        )
        self.hu = np.full(self.x.shape, AIR_HU)
        self.softness_mm = 0.5 * pixel_mm

    def fill(self, inside_mm, hu):
        """Mix HU in where a distance inside an object is positive, with soft edges."""
        share = np.clip(0.5 + inside_mm / (2 * self.softness_mm), 0, 1)
        self.hu += share * (hu - self.hu)

    def body(self):
        """A body of fat and muscle with two bones that move from slice to slice."""
        self.fill(80 - np.hypot(self.x * 80 / 150, self.y + 20), -100.0)
        self.fill(60 - np.hypot(self.x * 60 / 125, self.y + 20), 40.0)
        for side in (-1, 1):
            self.fill(15 - np.hypot(self.x - side * (80 + 0.15 * self.z), self.y + 10 + 0.2 * self.z), 700.0)

    def phantom(self, rods_hu=RODS_HU, distance_mm=32.0, center_mm=PHANTOM_MM, radius_mm=9.0):
        """A phantom whose rods lie from the patient's right to the left."""
        x, y, n = self.x - center_mm[0], self.y - center_mm[1], len(rods_hu)
        half = 0.5 * (n - 1) * distance_mm
        self.fill(13.5 - np.hypot(np.maximum(np.abs(x) - half - 4, 0), y), PLASTIC_HU)
        self.rods(rods_hu, distance_mm, center_mm, radius_mm)

    def rods(self, rods_hu, distance_mm=32.0, center_mm=PHANTOM_MM, radius_mm=9.0):
        """Rods alone, within what is there."""
        x, y = self.x - center_mm[0], self.y - center_mm[1]
        half = 0.5 * (len(rods_hu) - 1) * distance_mm
        for number, hu in enumerate(rods_hu):
            self.fill(radius_mm - np.hypot(x - number * distance_mm + half, y), hu)

    def rod_mm(self, number, count=5, distance_mm=32.0):
        """Return x and y of a rod of the phantom in its usual place."""
        return PHANTOM_MM[0] + (number - 0.5 * (count - 1)) * distance_mm, PHANTOM_MM[1]

    def near(self, place_mm, radius_mm):
        """Return whether voxels lie near a line along z."""
        return np.hypot(self.x - place_mm[0], self.y - place_mm[1]) <= radius_mm

    def image(self, noise_hu=15.0, seed=4):
        """Return the CT, int16 from -1024 to 3071, with white noise."""
        noise = noise_hu * np.random.default_rng(seed).standard_normal(self.hu.shape)
        made = sitk.GetImageFromArray(np.clip(np.rint(self.hu + noise), -1024, 3071).astype(np.int16))
        made.CopyInformation(self.grid)
        return made


def scene(rods_hu=RODS_HU, *, distance_mm=32.0, **settings):
    """Return a scene with a body above a phantom."""
    made = RodScene(**settings)
    made.body()
    made.phantom(rods_hu, distance_mm)
    return made
