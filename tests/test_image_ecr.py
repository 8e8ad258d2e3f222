"""AWS's registry, as moto plays it: the repository is made once, and what AWS refuses is told with a way out."""

from __future__ import annotations

import base64
import json
import urllib.request

import pytest

from estimator.errors import RegistryError
from estimator.shipping.image.ecr import authorization, ensure_repository, is_ecr
from estimator.shipping.image.registry import parse_reference
from tests.servers import aws

IMAGE = parse_reference("123456789012.dkr.ecr.eu-west-1.amazonaws.com/prices/api:v1")


@pytest.fixture
def cloud():
    with aws() as made:
        yield made


def test_only_aws_addresses_are_of_aws():
    assert is_ecr(IMAGE)
    for text in ("127.0.0.1:5000/app", "123.dkr.ecr.eu-west-1.amazonaws.com/app", "python:3.11"):
        assert not is_ecr(parse_reference(text))


def test_a_repository_is_made_once_scanned_and_tidied(cloud):
    told: list[str] = []
    assert ensure_repository(IMAGE, {"estimator.model": "prices"}, told.append) is True
    assert ensure_repository(IMAGE, {"estimator.model": "prices"}, told.append) is False
    assert len(told) == 1
    client = cloud.client("ecr", "eu-west-1")
    (found,) = client.describe_repositories()["repositories"]
    assert found["repositoryName"] == "prices/api"
    assert found["imageScanningConfiguration"]["scanOnPush"] is True
    rules = json.loads(client.get_lifecycle_policy(repositoryName="prices/api")["lifecyclePolicyText"])["rules"]
    assert [rule["action"]["type"] for rule in rules] == ["expire", "expire"]
    tags = client.list_tags_for_resource(resourceArn=found["repositoryArn"])["tags"]
    assert tags == [{"Key": "estimator.model", "Value": "prices"}]


def test_a_token_of_aws_lets_us_in(cloud):
    kind, _, token = authorization(IMAGE).partition(" ")
    assert kind == "Basic"
    assert base64.b64decode(token).decode().startswith("AWS:")


def test_without_credentials_the_way_to_them_is_told(cloud, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(RegistryError, match="no AWS credentials") as caught:
        authorization(IMAGE)
    assert "AWS_PROFILE" in (caught.value.hint or "")


def test_what_the_user_may_not_do_is_told(cloud):
    with cloud.only_allowed(["ecr:GetAuthorizationToken"]):
        assert authorization(IMAGE).startswith("Basic ")
        with pytest.raises(RegistryError, match="AccessDenied") as caught:
            ensure_repository(IMAGE, {}, print)
        assert "docs/how-to/deploy.md" in (caught.value.hint or "")


def test_an_aws_that_cannot_be_reached_is_told(cloud, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(RegistryError, match="cannot be reached"):
        authorization(IMAGE)
    assert urllib.request.urlopen(cloud.address, timeout=5).status == 200
