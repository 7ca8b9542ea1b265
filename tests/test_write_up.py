"""One page of all studies, from the reports there are."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import pandas
import pytest
from PIL import Image
from typer.testing import CliRunner

from ganlib.__main__ import app
from ganlib.experiment.study import StudyError
from ganlib.report.export import Report
from ganlib.studies import STUDIES
from ganlib.studies.stories import STORIES
from ganlib.write_up import LONGEST, write_up

RECORD = {
    "profile": "cpu",
    "scale": "cpu profile <reduced>",
    "options": {"seeds": 3},
    "data": {"name": "mnist & co", "origin": "a file", "synthetic": False, "checksum": "c" * 8},
    "environment": {"keras": "3.15", "device": "CPU"},
    "seeds": [0, 1, 2],
    "git_revision": None,
}


def make_report(out, study="digits", profile="cpu", **record):
    report = Report(study, profile, out)
    figure, ax = plt.subplots(figsize=(7, 1))
    ax.plot([0, 1])
    report.figure("zebra", figure, "Stripes <first>.")
    report.figure("apple", figure, "")
    plt.close(figure)
    report.table("scores", pandas.DataFrame({"a": ["x<y", "b"], "score": [0.123456, None]}), "All.")
    report.table("others", pandas.DataFrame({"n": range(3)}), "The others.")
    report.table("long", pandas.DataFrame({"n": range(LONGEST + 1)}), "Too long.")
    claims = {"statement": ["It <works>."], "verdict": ["refuted"], "evidence": ["0.1 & 0.2"]}
    report.table("claims", pandas.DataFrame(claims))
    record = {**RECORD, "captions": report.captions, **record}
    (report.path / "run.json").write_text(json.dumps(record))
    return report.path


class Page(HTMLParser):
    """Text and addresses of a page; fails where a tag is not closed."""

    VOID = ("meta", "img", "br")

    def __init__(self, path):
        super().__init__()
        self.text, self.addresses, self.open = [], [], []
        self.feed(path.read_text(encoding="utf-8"))
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.addresses += [v for k, v in attributes if k in ("src", "href", "srcset", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def text_of(path):
    return " ".join(Page(path).text)


def test_every_study_has_its_story():
    assert STORIES.keys() == STUDIES.keys()


def test_the_page_asks_nothing_of_the_network(tmp_path):
    make_report(tmp_path)
    path = write_up(tmp_path)
    addresses = Page(path).addresses
    assert {a.partition(":")[0] for a in addresses if not a.startswith("#")} == {"data"}
    assert not re.search(r"url\(|@import|https?://", path.read_text(encoding="utf-8"))


def test_what_a_chapter_holds(tmp_path):
    make_report(tmp_path)
    text = text_of(write_up(tmp_path))
    for part in (
        STORIES["digits"].wrong,
        "cpu profile <reduced>",
        "mnist & co",
        "real data",
        "Seeds: 3",
        "x<y",
        "0.123",
        "It <works>.",
        "refuted",
        "0.1 & 0.2",
        "Stripes <first>.",
        "The others.",
        "long.csv",
        '{"seeds": 3}',
        "not recorded",  # the revision
    ):
        assert part in text, part
    assert "nan" not in text.lower()


def test_figures_stand_in_the_reports_order_and_can_be_read(tmp_path):
    make_report(tmp_path)
    path = write_up(tmp_path)
    source = path.read_text(encoding="utf-8")
    assert source.index("Stripes") < source.index("Apple.")  # no caption: its name
    pictures = [a for a in Page(path).addresses if a.startswith("data:image")]
    assert len(pictures) == 2
    for picture in pictures:
        with Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2]))) as image:
            assert image.width > 500


def test_the_largest_profile_is_shown(tmp_path):
    for profile in ("quick", "cpu"):
        make_report(tmp_path, profile=profile, scale=f"this is {profile}")
    assert "this is cpu" in text_of(write_up(tmp_path))
    make_report(tmp_path, profile="full", scale="this is full")
    text = text_of(write_up(tmp_path))
    assert "this is full" in text
    assert "this is cpu" not in text


def test_a_study_without_a_report_is_told_and_not_left_out(tmp_path):
    make_report(tmp_path)
    text = text_of(write_up(tmp_path))
    assert text.count("No results yet") == len(STUDIES) - 1
    assert "ganlib run unet" in text


@pytest.mark.parametrize("content", ["", "[]", "{", "[" * 100_000, '{"data": null}', "\ud800"])
def test_a_damaged_record(tmp_path, content):
    folder = make_report(tmp_path)
    (folder / "run.json").write_text(content, encoding="utf-8", errors="surrogatepass")
    assert "not recorded" in text_of(write_up(tmp_path))


@pytest.mark.parametrize("name", ["zebra.png", "scores.csv", "claims.csv", "others.csv"])
def test_a_damaged_file_does_not_spoil_the_page(tmp_path, name):
    folder = make_report(tmp_path)
    (folder / name).write_bytes(b"\xff\x00garbage")
    assert "Stripes" in text_of(write_up(tmp_path)) or name == "zebra.png"


def test_no_report_at_all(tmp_path):
    with pytest.raises(StudyError, match=r"There is no report in .*ganlib run"):
        write_up(tmp_path)


def test_command(tmp_path):
    make_report(tmp_path)
    result = CliRunner().invoke(app, ["report", "--all", "--reports", str(tmp_path)])
    assert result.exit_code == 0
    assert str(tmp_path / "write-up.html") in result.output
    assert (tmp_path / "write-up.html").exists()


@pytest.mark.parametrize("arguments", [[], ["digits", "--all"]])
def test_one_study_or_all(arguments):
    result = CliRunner().invoke(app, ["report", *arguments])
    assert result.exit_code == 2
    assert "--all" in result.output
