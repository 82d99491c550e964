"""Tables as people type them and spreadsheets save them: how they are read, and which row a message names."""

import pytest

from lib.cohort.review import read_review
from lib.cohort.sheet import read_sheet, read_text
from lib.cohort.table import read_cohort
from lib.commands.parts.cut import cut_cohort
from lib.errors import TableError

PLAIN = "scan,image,site\nS1,a,Kiel\nS2,b,Bonn\n"


@pytest.fixture
def folder(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    return tmp_path


def written(folder, content):
    table = folder / "cohort.csv"
    table.write_bytes(content if isinstance(content, bytes) else content.encode())
    return table


@pytest.mark.parametrize(
    "content",
    [
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.replace("\n", "\r\r\n"),
        "\n" + PLAIN,
        "\r\n \t\r\n" + PLAIN,
        ",,,\n" + PLAIN,
        PLAIN.replace("\nS2", "\n\n,,\nS2"),
        PLAIN + ",,\n" * 1247,
        PLAIN + ' , ,"" \n\t\n',
        "sep=,\n" + PLAIN,
        '"sep=,"\n' + PLAIN,
        "SEP=;\r\n" + PLAIN.replace(",", ";"),
        "sep=;;;\n" + PLAIN.replace(",", ";"),
        "sep=\t\n" + PLAIN.replace(",", "\t"),
        "sep=,\n" + PLAIN.replace(",", ";"),
        "sep=;\n" + PLAIN,
        "sep=|\n" + PLAIN,
        PLAIN.replace("site", "site,,,").replace("Kiel", "Kiel,,,"),
        PLAIN.replace(",site", ',site,"a;b;c;d"'),
        PLAIN.rstrip("\n"),
        PLAIN.replace("scan", " scan\u00a0").replace("image", "\u200bimage").replace("S1", "\ufeffS1\u200e"),
        "\ufeff\ufeff" + PLAIN,
        "\ufeffsep=,\n" + PLAIN,
        PLAIN.replace("Kiel", '"Kiel" ').replace("Bonn", '"Bonn"'),
        PLAIN.replace("S2,b,Bonn", "S2,b,Bonn,,,,"),
        PLAIN.replace("S2,b,Bonn", "S2,b"),
    ],
)
def test_the_same_rows_however_they_are_written(folder, content):
    rows = list(read_cohort(written(folder, content)).values())
    assert [(row.scan, row.image[-1], row.site) for row in rows] == [
        ("S1", "a", "Kiel"),
        ("S2", "b", rows[1].site),
    ]
    assert rows[1].site in ("Bonn", "")


@pytest.mark.parametrize(
    ("content", "row"),
    [
        ("scan,image,sex\nS1,a,x\n", 2),
        ("\nscan,image,sex\nS1,a,x\n", 3),
        ("\n\n,,\nscan,image,sex\n\nS2,b,F\n,,\nS1,a,x\n", 8),
        ("sep=,\nscan,image,sex\nS1,a,x\n", 2),  # a spreadsheet does not show the line sep=
        ('scan,image,sex,note\nS2,b,F,"three\nlines\r\nof text"\nS1,a,x,\n', 3),
        ('scan,image,sex,"note\nfor us"\nS1,a,x,\n', 2),
        ("scan,image,sex,note\nS2,b,F,one\u2028two\x85three\x0bfour\x0cfive\x1csix\nS1,a,x,\n", 3),
        ("scan,image,sex\r\r\nS1,a,x\r\r\n", 3),
    ],
)
def test_problems_name_the_row_that_the_spreadsheet_shows(folder, content, row):
    with pytest.raises(TableError, match=f"1 problem; .*\n  row {row}, column sex: 'x'"):
        read_cohort(written(folder, content))


def test_every_row_of_a_message_is_counted_alike(folder):
    content = "\nscan,image,sex,scan_,repeat_of\n\nS1,a,F,,\n,,,,\ns1,b,F,,S7\nS2,c,F,,,more\n"
    with pytest.raises(TableError) as caught:
        read_cohort(written(folder, content))
    assert "row 7, column repeat_of: '6 cells'" in str(caught.value)
    with pytest.raises(TableError) as caught:
        read_cohort(written(folder, content.replace(",more", "")))
    assert "row 6, column scan: 's1'; ids must be unique (case is ignored): see row 4" in str(caught.value)
    assert "row 6, column repeat_of: 'S7'" in str(caught.value)
    with pytest.raises(TableError, match="row 2, column image: 'no such column'; columns found: scan, pic"):
        read_cohort(written(folder, "\nscan,pic\nS1,a\n"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (PLAIN.encode("utf-16"), "it is UTF-16 text; save it as CSV \\(UTF-8\\)"),
        (b"\xff\xfe" + PLAIN.encode("utf-16-le"), "it is UTF-16 text"),
        (PLAIN.encode("utf-16-le"), "every other byte is zero, as in UTF-16 text"),
        (PLAIN.replace("Bonn", "Köln").encode("cp1252"), "line 3 is not valid UTF-8"),
        (b"PK\x03\x04\x14\x00\x06\x00\xff\xff", "it is a spreadsheet's own file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "it is a spreadsheet's own file"),
        (PLAIN.replace("S1", "S\0001"), "row 2, column scan: 'S.x001'; use letters"),
        (PLAIN.replace("a,", "a\0,"), "row 2, column image: .*a.x00'; there is no such file"),
        ("", "columns found: none"),
        ("\n \n,,\n", "columns found: none"),
        ("sep=;\n", "columns found: none"),
        (PLAIN.replace(",", "|"), r"columns found: scan\|image\|site"),
        *((PLAIN.replace("\n", end), "lines must end in a line feed") for end in "\v\f\x1e\x85\u2028\u2029"),
        ("scan,image,site\n\n,,\n", "has a header but no scan"),
        ('scan,image,site\nS1,a,"Kiel\nS2,b,Bonn\n', r'row 2 opens a quote \("\) that is not closed'),
        ('scan,image,site\nS1,a,"Kiel\nS2,b,"Bonn"\n', "row 2 opens a quote"),
        ('scan,image,site\n\nS1,a,Kiel\nS2,"b,Bonn', "row 4 opens a quote"),
        ('"scan,image\nS1,a\n', "row 1 opens a quote"),
        ("scan,image,site\nS1,a," + "x" * 200_000 + "\n", "row 2 cannot be read as CSV"),
    ],
)
def test_what_is_no_table_is_told_by_its_cause(folder, content, words):
    with pytest.raises(TableError, match=words):
        read_cohort(written(folder, content))


def test_no_scan_is_swallowed_by_a_quote(folder):
    # a lenient reader would read S2 as part of a cell of an unused column
    content = 'scan,image,note\nS1,a,"see above\nS2,b,"none"\nS3,c,\n'
    with pytest.raises(TableError, match="row 2 opens a quote"):
        read_cohort(written(folder, content))
    closed = content.replace('"see above', '"see ""above"""')
    assert list(read_cohort(written(folder, closed))) == ["S1", "S2", "S3"]
    inches = content.replace('"see above', 'about 5" wide')
    assert list(read_cohort(written(folder, inches))) == ["S1", "S2", "S3"]


def test_a_table_that_is_not_there_says_where_it_was_looked_for(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(TableError) as caught:
        read_cohort("tables/none.csv")
    text = str(caught.value)
    assert f"tables/none.csv does not exist (it was looked for at {folder}/tables/none.csv)" in text
    assert "set `cohort` to its path, seen from the study's folder (--directory)" in text
    with pytest.raises(TableError, match="a cannot be read .Is a directory.; set `cohort` to a CSV file"):
        read_cohort(folder / "a")
    with pytest.raises(TableError, match="cannot be read .this is no path."):
        read_cohort("no\0path.csv")


def test_reviews_and_parts_are_read_by_the_same_reader(folder):
    (folder / "review.csv").write_text("sep=;\n;;\nscan;verdict;comment\n\nS1;accepted;\n;;\nS9;reject;\n")
    with pytest.raises(TableError) as caught:
        read_review(folder / "review.csv", ["S1"])
    assert "row 6, column verdict: 'reject'" in str(caught.value)
    assert "row 6, column scan: 'S9'; the cohort table has no such scan" in str(caught.value)
    table = written(folder, "sep=;\n\nscan;image;subject\n;;\nS1;a;P1\n\nS2;b;P2\n;;\n")
    cut = cut_cohort(table, folder / "parts", 1)
    assert cut.written == {"part-01": ["S1"], "part-02": ["S2"]}
    assert [row.image for row in read_cohort(folder / "parts/part-02/cohort.csv").values()] == [
        str(folder / "parts/part-02/../../b")
    ]
    assert cut_cohort(table, folder / "parts", 1).written == {}


def test_cells_are_kept_as_they_are_inside(folder):
    text = read_text(written(folder, 'scan;image\r\nS1;"a ; b\r\nc "\r\n'), "cohort table", "cohort")
    sheet = read_sheet(text, "table")
    assert (sheet.separator, sheet.header_row, sheet.header) == (";", 1, ["scan", "image"])
    assert sheet.rows == [(2, ["S1", "a ; b\nc "])]
    assert sheet.records == [(2, {"scan": "S1", "image": "a ; b\nc"})]
