"""Downloads: a real S3 and HTTP server, incomplete files, and secrets that stay secret; connectors of plug-ins."""

from __future__ import annotations

import gzip
import os
import sys

import pytest

from estimator.core.registry import Shelf
from estimator.data.sources import SCHEMES, opener
from estimator.data.sources.address import locate
from estimator.data.sources.opener import open_files, open_source
from estimator.errors import MissingExtraError, PluginError, SourceError
from tests.servers import PASSWORD, rows, s3, serve


@pytest.fixture(scope="module")
def bucket():
    with s3("rows") as client:
        yield client


@pytest.fixture
def web():
    with serve() as server:
        yield server


# S3


def test_s3_object_is_read_like_a_file(bucket, tmp_path):
    content = "a;b\n1;é\n2;x\n".encode("latin-1")
    (tmp_path / "old.csv").write_bytes(content)
    bucket.put_object(Bucket="rows", Key="in/old.csv", Body=content)
    with open_source("s3://rows/in/old.csv") as remote, open_source(str(tmp_path / "old.csv")) as local:
        assert remote.frame().equals(local.frame())
        assert remote.notes() == local.notes() != []
        assert remote.fingerprint() == local.fingerprint()


@pytest.mark.parametrize(
    ("address", "expected"),
    [("s3://rows/parts/", ["1", "2"]), ("s3://rows/parts/*.csv", ["1"]), ("s3://rows/p*/*/c.csv", ["3"])],
)
def test_prefix_or_pattern_names_several_objects(bucket, address, expected):
    for key, content in {
        "a.csv": b"n\n1\n",
        "b.csv.gz": gzip.compress(b"n\n2\n"),
        "deep/c.csv": b"n\n3\n",
        "readme.txt": b"",
    }.items():
        bucket.put_object(Bucket="rows", Key=f"parts/{key}", Body=content)
    assert rows(address)["n"].to_list() == expected


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("s3://rows/nope.csv", "s3://rows/nope.csv: S3 reports NoSuchKey"),
        ("s3://nowhere/x.csv", "s3://nowhere/x.csv: S3 reports NoSuchBucket"),
        ("s3://rows/empty/", "s3://rows/empty/: no object there is a table"),
    ],
)
def test_s3_errors_are_explained(bucket, address, message):
    with pytest.raises(SourceError, match=message):
        rows(address)


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz"])
def test_content_encoding_of_an_object_is_undone(bucket, name):
    packed = gzip.compress(b"n\n1\n")
    bucket.put_object(Bucket="rows", Key=f"packed/{name}", Body=packed, ContentEncoding="gzip")
    assert rows(f"s3://rows/packed/{name}")["n"].to_list() == ["1"]
    bucket.put_object(Bucket="rows", Key="packed/cut.csv", Body=packed[:-9], ContentEncoding="gzip")
    with pytest.raises(SourceError, match="sent as gzip, but is damaged: it ends too early"):
        rows("s3://rows/packed/cut.csv")


def test_hidden_objects_are_no_parts_of_a_prefix(bucket):
    for key in ("a.csv", "._a.csv", ".b.csv"):
        bucket.put_object(Bucket="rows", Key=f"mac/{key}", Body=b"n\n1\n")
    assert rows("s3://rows/mac/")["n"].to_list() == ["1"]


# http and https


def test_signature_of_a_url_is_not_shown(web, tmp_path):
    web.pages["/x.csv.gz"] = gzip.compress(b"a,b\n1,2\n")
    with open_source(f"{web.url}/x.csv.gz?sig=${{SIG}}", environment={"SIG": "abc%3D"}) as source:
        assert source.frame().rows() == [("1", "2")]
        assert list(source.fingerprint()) == ["x.csv.gz"]
    assert web.requested == ["/x.csv.gz?sig=abc%3D"]
    with pytest.raises(SourceError) as error:
        rows(f"{web.url}/gone.csv?sig=abc")
    assert error.value.message == f"{web.url}/gone.csv: the server responds with 404 Not Found"


def test_data_kind_replaces_the_ending(web):
    web.pages["/download"] = b"a,b\n1,2\n"
    assert rows(f"{web.url}/download?id=5", kind="csv").rows() == [("1", "2")]
    with pytest.raises(SourceError, match=f"{web.url}/download: no kind of source has this ending"):
        rows(f"{web.url}/download?id=5")


@pytest.mark.parametrize("how", ["short", "chunks"])
def test_incomplete_download_is_an_error(web, scratches, how):
    web.pages[f"/{how}.csv"] = b"a,b\n1,2\n" * 1000
    with pytest.raises(SourceError, match="the download stopped"):
        rows(f"{web.url}/{how}.csv")
    assert not list(scratches.iterdir())


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("/to-file.csv", "another scheme than http and https"),
        ("/to-ftp.csv", "another scheme than http and https"),
        ("/forbidden.csv", "403 Forbidden"),
        ("/login.csv", "got a web page"),
    ],
)
def test_response_without_a_table_is_explained(web, page, message):
    with pytest.raises(SourceError) as error:
        rows(f"{web.url}{page}")
    assert message in f"{error.value.message} {error.value.hint}"


def test_silent_server_times_out(web, monkeypatch):
    monkeypatch.setattr("estimator.data.sources.web.TIMEOUT_SECONDS", 0.2)
    with pytest.raises(SourceError, match="no response within"):
        rows(f"{web.url}/silent.csv")


def test_credentials_stay_with_their_host(web):
    with serve() as other:
        other.pages["/x.csv"] = b"a\n1\n"
        web.moved["/moved.csv"] = f"http://localhost:{other.port}/x.csv"
        address = web.url.replace("://", "://me:${SECRET}@") + "/moved.csv"
        assert rows(address, SECRET=PASSWORD).height == 1
        assert (len(web.users), other.users) == (1, [])


# Secrets


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me:hunter2@host/db", "postgresql://host/db?password=hunter2", "https://me:hunter2@host/x.csv",
        "s3://me:hunter2@bucket/x.csv", "postgresql://me:hun/ter2@host/db", "postgresql://me:hunter2${X}@host/db",
        "postgresql://me:hunter2?@host/db",
    ],
)  # fmt: skip
def test_password_in_an_address_is_rejected_and_hidden(address):
    with pytest.raises(SourceError, match="contains a password") as error:
        rows(address, "t", X="x")
    assert "hunter2" not in f"{error.value.message}{error.value.hint}"
    assert "ter2" not in error.value.message
    assert "${NAME}" in str(error.value.hint)


def test_address_repr_hides_secrets():
    address = locate("postgresql://${WHO}:${PW}@${HOST}/db?sslmode=require", {"WHO": "me", "PW": "p@:/", "HOST": "h"})
    assert address.url == "postgresql://me:p%40%3A%2F@h/db?sslmode=require"
    assert repr(address) == "Address(name='postgresql://${HOST}/db')"


def test_file_path_may_hold_variables(tmp_path):
    (tmp_path / "monday.csv").write_text("a\n1\n")
    assert rows("${DAY}.csv", folder=tmp_path, DAY="monday").height == 1


# Shared by all sources


@pytest.mark.parametrize(
    ("path", "query", "kind", "message"),
    [
        ("file:///etc/passwd", None, None, "no connector for file://"),
        ("ftp://host/x.csv", None, None, "no connector for ftp://"),
        ("x.csv", "t", None, "is not a database"),
        ("sqlite:///x.db", "t", "csv", "data.kind 'csv' does not read sqlite://"),
    ],
)
def test_unsupported_address_is_explained(tmp_path, path, query, kind, message):
    (tmp_path / "x.csv").write_text("a\n1\n")
    with pytest.raises(SourceError, match=message):
        rows(path, query, folder=tmp_path, kind=kind)


def test_local_and_remote_files_are_concatenated(web, tmp_path):
    (tmp_path / "x.csv").write_text("a\n1\n")
    web.pages["/x.csv"] = b"a\n2\n"
    with open_source([f"{web.url}/x.csv", "x.csv"], folder=tmp_path) as source:
        assert source.frame()["a"].to_list() == ["2", "1"]
        assert len(source.fingerprint()) == 2


@pytest.mark.parametrize(
    ("module", "address", "extra"),
    [("adbc_driver_postgresql", "postgresql://h/d", "sql"), ("boto3", "s3://b/x.csv", "s3")],
)
def test_missing_extra_names_its_install(monkeypatch, module, address, extra):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(MissingExtraError) as error:
        rows(address, "t" if extra == "sql" else None)
    assert f"[{extra}]" in str(error.value.hint)


PLUGIN = """
import polars as pl
from contextlib import contextmanager
from estimator.data.sources.base import QueryConnector, QueryResult

class Topic(QueryConnector):
    needs_query = False

    @classmethod
    @contextmanager
    def query(cls, address, query, folder):
        name = address.url.rpartition("/")[2]
        yield QueryResult(iter([pl.DataFrame({"topic": [name, name]})]), ("read from the start",))
"""


def test_plugin_adds_a_scheme(tmp_path, monkeypatch):
    info = tmp_path / "plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[estimator.connector]\nkafka = kafka_plugin:Topic\nbroken = nowhere:X\n")
    (tmp_path / "kafka_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(opener, "CONNECTORS", Shelf("connector", SCHEMES))
    with open_source("kafka://host/clicks") as source:
        assert source.frame()["topic"].to_list() == ["clicks", "clicks"]
        assert source.notes() == ["read from the start"]
    with pytest.raises(PluginError, match=r"'plugin' registers the connector 'broken'.*No module named 'nowhere'"):
        rows("broken://host/x")


def test_only_workbooks_need_their_reader(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastexcel", None)
    monkeypatch.delitem(sys.modules, "estimator.data.sources.excel", raising=False)
    (tmp_path / "t.csv").write_text("x,y\n1,2\n")
    assert open_files(str(tmp_path / "t.csv")).frame().height == 1
    (tmp_path / "t.xlsx").write_bytes(b"PK\x03\x04")
    with pytest.raises(MissingExtraError, match="reading a workbook needs the package 'fastexcel'") as caught:
        open_files(str(tmp_path / "t.xlsx")).frame()
    assert "estimator-lifepath[excel]" in str(caught.value.hint)


def test_what_a_folder_or_pattern_leaves_out_is_a_note_and_a_file_read_twice_an_error(tmp_path):
    for name in ("a.csv", "in/2023/b.csv", "parts/year=2020/c.csv", "in/a.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x,y\n1,2\n")
    assert open_files(str(tmp_path / "in")).notes() == [f"{tmp_path}/in: folders in it are not read: 2023"]
    (note,) = open_files(str(tmp_path / "parts/*/*.csv")).notes()
    assert note.startswith("names of folders are no columns: year=2020")
    with pytest.raises(SourceError, match=r"a\.csv more than once, so its rows would be read twice"):
        open_files([str(tmp_path / "a.csv"), str(tmp_path / "*.csv")])


def test_a_pipe_is_a_sentence_and_no_wait(tmp_path):
    os.mkfifo(tmp_path / "rows.csv")
    with pytest.raises(SourceError, match="is a pipe or a device, which cannot be read twice"):
        open_files(str(tmp_path / "rows.csv"))
