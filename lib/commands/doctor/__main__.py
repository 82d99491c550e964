"""Check machine, study and cluster before a run.

python -m lib.commands.doctor [the arguments that snakemake will get]
"""

import sys

OLDEST = (3, 11)


def main(arguments):
    """Print all findings; return the exit status. Imports come after the check of Python's version."""
    if sys.version_info < OLDEST:
        print(f"  wrong  Python {sys.version.split()[0]} is too old")
        print("         -> make .venv with 3.11 or newer: make setup PYTHON=python3.12")
        return 1
    from lib.commands.doctor.checkup import check_all

    return check_all(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
