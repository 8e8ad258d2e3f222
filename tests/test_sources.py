"""Rows from afar: a real S3 and HTTP on this machine, broken downloads, and secrets that stay secret."""

from __future__ import annotations

import gzip

import pytest

from estimator.data.sources.address import locate
from estimator.data.sources.opener import opened
from estimator.errors import MissingExtraError, SourceError
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


def test_an_object_is_read_like_a_file(bucket, tmp_path):
    content = "a;b\n1;é\n2;x\n".encode("latin-1")
    (tmp_path / "old.csv").write_bytes(content)
    bucket.put_object(Bucket="rows", Key="in/old.csv", Body=content)
    with opened("s3://rows/in/old.csv") as far, opened(str(tmp_path / "old.csv")) as near:
        assert far.frame().equals(near.frame())
        assert far.notes() == near.notes() != []
        assert far.fingerprint() == near.fingerprint()


@pytest.mark.parametrize(
    ("address", "found"),
    [("s3://rows/parts/", ["1", "2"]), ("s3://rows/parts/*.csv", ["1"]), ("s3://rows/p*/*/c.csv", ["3"])],
)
def test_a_prefix_or_pattern_names_several_objects(bucket, address, found):
    for key, content in {
        "a.csv": b"n\n1\n",
        "b.csv.gz": gzip.compress(b"n\n2\n"),
        "deep/c.csv": b"n\n3\n",
        "readme.txt": b"",
    }.items():
        bucket.put_object(Bucket="rows", Key=f"parts/{key}", Body=content)
    assert rows(address)["n"].to_list() == found


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("s3://rows/nope.csv", "s3://rows/nope.csv: S3 says NoSuchKey"),
        ("s3://nowhere/x.csv", "s3://nowhere/x.csv: S3 says NoSuchBucket"),
        ("s3://rows/empty/", "s3://rows/empty/: no table there"),
    ],
)
def test_faults_of_s3_are_explained(bucket, address, told):
    with pytest.raises(SourceError, match=told):
        rows(address)


# http and https


def test_a_page_is_read_like_a_file_and_its_signature_is_not_told(web, tmp_path):
    web.pages["/x.csv.gz"] = gzip.compress(b"a,b\n1,2\n")
    with opened(f"{web.url}/x.csv.gz?sig=${{SIG}}", environment={"SIG": "abc%3D"}) as source:
        assert source.frame().rows() == [("1", "2")]
        assert list(source.fingerprint()) == ["x.csv.gz"]
    assert web.asked == ["/x.csv.gz?sig=abc%3D"]
    with pytest.raises(SourceError) as error:
        rows(f"{web.url}/gone.csv?sig=abc")
    assert error.value.message == f"{web.url}/gone.csv: the server says 404 Not Found"


def test_data_kind_names_what_the_ending_does_not(web):
    web.pages["/download"] = b"a,b\n1,2\n"
    assert rows(f"{web.url}/download?id=5", kind="csv").rows() == [("1", "2")]
    with pytest.raises(SourceError, match=f"{web.url}/download: the ending tells no kind"):
        rows(f"{web.url}/download?id=5")


@pytest.mark.parametrize("how", ["short", "chunks"])
def test_half_a_file_is_never_taken_for_one(web, scratches, how):
    web.pages[f"/{how}.csv"] = b"a,b\n1,2\n" * 1000
    with pytest.raises(SourceError, match="broke off"):
        rows(f"{web.url}/{how}.csv")
    assert not list(scratches.iterdir())


@pytest.mark.parametrize(
    ("page", "told"),
    [
        ("/to-file.csv", "neither http nor https"),
        ("/to-ftp.csv", "neither http nor https"),
        ("/forbidden.csv", "403 Forbidden"),
        ("/login.csv", "the server sent a web page"),
    ],
)
def test_a_page_that_is_no_table_is_refused(web, page, told):
    with pytest.raises(SourceError) as error:
        rows(f"{web.url}{page}")
    assert told in f"{error.value.message} {error.value.hint}"


def test_a_server_that_is_silent_is_given_up(web, monkeypatch):
    monkeypatch.setattr("estimator.data.sources.web.TIMEOUT_SECONDS", 0.2)
    with pytest.raises(SourceError, match="no answer within"):
        rows(f"{web.url}/silent.csv")


def test_user_and_password_do_not_follow_to_another_host(web):
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
def test_a_password_in_an_address_is_refused_and_not_repeated(address):
    with pytest.raises(SourceError, match="has a password written in it") as error:
        rows(address, "t", X="x")
    assert "hunter2" not in f"{error.value.message}{error.value.hint}"
    assert "ter2" not in error.value.message
    assert "${NAME}" in str(error.value.hint)


def test_printing_an_address_shows_no_secret():
    address = locate("postgresql://${WHO}:${PW}@${HOST}/db?sslmode=require", {"WHO": "me", "PW": "p@:/", "HOST": "h"})
    assert address.url == "postgresql://me:p%40%3A%2F@h/db?sslmode=require"
    assert repr(address) == "Address(name='postgresql://${HOST}/db')"


def test_a_path_of_files_may_name_variables_too(tmp_path):
    (tmp_path / "monday.csv").write_text("a\n1\n")
    assert rows("${DAY}.csv", folder=tmp_path, DAY="monday").height == 1


# What the sources share


@pytest.mark.parametrize(
    ("path", "query", "kind", "told"),
    [
        ("file:///etc/passwd", None, None, "no source reads file://"),
        ("ftp://host/x.csv", None, None, "no source reads ftp://"),
        ("x.csv", "t", None, "is no database"),
        ("sqlite:///x.db", "t", "csv", "data.kind 'csv' reads no sqlite://"),
    ],
)
def test_an_address_nobody_reads_is_explained(tmp_path, path, query, kind, told):
    (tmp_path / "x.csv").write_text("a\n1\n")
    with pytest.raises(SourceError, match=told):
        rows(path, query, folder=tmp_path, kind=kind)


def test_files_here_and_afar_are_put_end_to_end(web, tmp_path):
    (tmp_path / "x.csv").write_text("a\n1\n")
    web.pages["/x.csv"] = b"a\n2\n"
    with opened([f"{web.url}/x.csv", "x.csv"], folder=tmp_path) as source:
        assert source.frame()["a"].to_list() == ["2", "1"]
        assert len(source.fingerprint()) == 2


@pytest.mark.parametrize(
    ("module", "address", "extra"),
    [("adbc_driver_postgresql", "postgresql://h/d", "sql"), ("boto3", "s3://b/x.csv", "s3")],
)
def test_a_missing_part_says_what_to_install(monkeypatch, module, address, extra):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(MissingExtraError) as error:
        rows(address, "t" if extra == "sql" else None)
    assert f"[{extra}]" in str(error.value.hint)
