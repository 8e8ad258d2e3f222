"""AWS ECR as moto simulates it: repositories, login and errors."""

from __future__ import annotations

import base64
import json
import urllib.request

import pytest

from estimator.errors import RegistryError
from estimator.shipping.image.ecr import authorization, ensure_repository, is_ecr, stored_digest
from estimator.shipping.image.registry import parse_reference
from tests.servers import aws

IMAGE = parse_reference("123456789012.dkr.ecr.eu-west-1.amazonaws.com/prices/api:v1")

MANIFEST = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": []})


@pytest.fixture
def cloud():
    with aws() as fake:
        yield fake


def test_hosts_of_ecr_are_recognized():
    assert is_ecr(IMAGE)
    for text in ("127.0.0.1:5000/app", "123.dkr.ecr.eu-west-1.amazonaws.com/app", "python:3.11"):
        assert not is_ecr(parse_reference(text))


def test_repository_is_created_once_with_its_policies(cloud):
    notes: list[str] = []
    assert ensure_repository(IMAGE, {"estimator.model": "prices"}, notes.append) is True
    assert ensure_repository(IMAGE, {"estimator.model": "prices"}, notes.append) is False
    assert len(notes) == 1
    client = cloud.client("ecr", "eu-west-1")
    (repository,) = client.describe_repositories()["repositories"]
    assert repository["repositoryName"] == "prices/api"
    assert repository["imageScanningConfiguration"]["scanOnPush"] is True
    rules = json.loads(client.get_lifecycle_policy(repositoryName="prices/api")["lifecyclePolicyText"])["rules"]
    assert [rule["action"]["type"] for rule in rules] == ["expire", "expire"]
    tags = client.list_tags_for_resource(resourceArn=repository["repositoryArn"])["tags"]
    assert tags == [{"Key": "estimator.model", "Value": "prices"}]


def test_what_a_tag_names_is_found_and_nothing_is_created(cloud):
    assert stored_digest(IMAGE) == (False, None)
    client = cloud.client("ecr", "eu-west-1")
    assert client.describe_repositories()["repositories"] == []
    client.create_repository(repositoryName="prices/api")
    assert stored_digest(IMAGE) == (True, None)
    image = client.put_image(repositoryName="prices/api", imageManifest=MANIFEST, imageTag="v1")["image"]
    assert stored_digest(IMAGE) == (True, image["imageId"]["imageDigest"])


def test_login_uses_a_token(cloud):
    kind, _, token = authorization(IMAGE).partition(" ")
    assert kind == "Basic"
    assert base64.b64decode(token).decode().startswith("AWS:")


def test_missing_credentials_are_explained(cloud, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(RegistryError, match="no AWS credentials") as caught:
        authorization(IMAGE)
    assert "AWS_PROFILE" in (caught.value.hint or "")


def test_missing_permission_is_explained(cloud):
    with cloud.only_allowed(["ecr:GetAuthorizationToken"]):
        assert authorization(IMAGE).startswith("Basic ")
        with pytest.raises(RegistryError, match="AccessDenied") as caught:
            ensure_repository(IMAGE, {}, print)
        assert "docs/how-to/deploy.md" in (caught.value.hint or "")


def test_unreachable_aws_is_reported(cloud, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(RegistryError, match="cannot be reached"):
        authorization(IMAGE)
    assert urllib.request.urlopen(cloud.address, timeout=60).status == 200
