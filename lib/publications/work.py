"""A cited work: its entry in a list of references, and its entry of BibTeX."""

from dataclasses import dataclass

_SPECIAL = str.maketrans({"&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_"})


@dataclass(frozen=True, kw_only=True)
class Work:
    """A cited work.

    Attributes:
        authors: as listed in journals of medicine, without a full stop: `Lin LI` or `Kingma DP, Ba J`; of many the
            first ones and `et al`.
        title: without a full stop.
        year: of publication.
        journal: its name; empty: the work is no article of a journal.
        proceedings: name of a conference or its proceedings, of a paper that is no article of a journal.
        publisher: of a book.
        volume: with the number in brackets, if it is given.
        pages: first and last page with a hyphen, or the number of the article.
        part: the part of a book that is cited, such as `chapter 11`.
        arxiv: number of a preprint.
        doi: digital object identifier; empty if there is none.
    """

    authors: str
    title: str
    year: int
    journal: str = ""
    proceedings: str = ""
    publisher: str = ""
    volume: str = ""
    pages: str = ""
    part: str = ""
    arxiv: str = ""
    doi: str = ""

    def __str__(self) -> str:
        """Return the entry of a list of references, in the style of journals of medicine."""
        where = self.journal or self.proceedings or self.publisher
        where = f"{where} {self.year}" if where else f"{self.year}"
        where += f";{self.volume}" if self.volume else ""
        where += f":{self.pages}" if self.pages else ""
        numbers = (f"arXiv:{self.arxiv}" if self.arxiv else "", f"doi:{self.doi}" if self.doi else "")
        told = ". ".join(filter(None, (", ".join(filter(None, (where, self.part))), *numbers)))
        return f"{self.authors}. {self.title}. {told}."

    def bibtex(self, key: str) -> str:
        """Return the entry of BibTeX with this key."""
        kind = "article" if self.journal else "inproceedings" if self.proceedings else "book"
        kind = kind if self.journal or self.proceedings or self.publisher else "misc"
        fields = {
            "author": " and ".join(map(_bibtex_name, self.authors.split(", "))),
            "title": f"{{{self.title}}}",  # braces keep capitals
            "journal": self.journal,
            "booktitle": self.proceedings,
            "publisher": self.publisher,
            "year": str(self.year),
            "volume": self.volume.partition("(")[0],
            "number": self.volume.partition("(")[2].rstrip(")"),
            "pages": self.pages.replace("-", "--"),
            "note": self.part,
            "eprint": self.arxiv,
            "archiveprefix": "arXiv" if self.arxiv else "",
            "doi": self.doi,
        }
        literal = ("doi", "eprint")
        lines = [
            f"  {name} = {{{value if name in literal else value.translate(_SPECIAL)}}},"
            for name, value in fields.items()
            if value
        ]
        return "\n".join([f"@{kind}{{{key},", *lines, "}"])


def _bibtex_name(author: str) -> str:
    """Return `Keyak, J. H.` for `Keyak JH`, and `others` for `et al`."""
    if author == "et al":
        return "others"
    family, _, initials = author.rpartition(" ")
    return f"{family}, {' '.join(f'{letter}.' for letter in initials)}"
