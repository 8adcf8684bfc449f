"""The contract of the HTTP source as a document: its own form, and what the tests' service and the source say by it."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from support import tokenservice
from support.sourcecontract import credential
from webhook.config.sourceconfig import Fields, HttpSource
from webhook.core.credential import Credentials
from webhook.sources import http
from webhook.sources.http import HttpRemote
from webhook.sources.jsonanswer import read
from webhook.sources.remote import MAX_OWNERS, MAX_SIZE, Answer

DOCUMENT: dict[str, Any] = yaml.safe_load((Path(__file__).parents[3] / "docs" / "http-source.openapi.yaml").read_text())
(GET,) = (path["get"] for path in DOCUMENT["paths"].values() if "get" in path)
(POST,) = (path["post"] for path in DOCUMENT["paths"].values() if "post" in path)
JSON: dict[str, Any] = GET["responses"]["200"]["content"]["application/json"]


def validator(schema: Mapping[str, Any]) -> jsonschema.Draft202012Validator:
    whole = {"components": DOCUMENT["components"], **schema}
    jsonschema.Draft202012Validator.check_schema(whole)
    return jsonschema.Draft202012Validator(whole)


def schemas(node: Any) -> Iterator[Any]:
    if isinstance(node, dict):
        if "schema" in node:
            yield node["schema"]
        for one in node.values():
            yield from schemas(one)
    elif isinstance(node, list):
        for one in node:
            yield from schemas(one)


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from ([node["$ref"]] if "$ref" in node else [])
        for one in node.values():
            yield from references(one)
    elif isinstance(node, list):
        for one in node:
            yield from references(one)


def test_the_document_is_in_form() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert {"title", "version"} <= DOCUMENT["info"].keys()
    assert {"200", "304", "404", "default"} == GET["responses"].keys()
    assert {"200", "default"} == POST["responses"].keys()
    for operation in (GET, POST):
        assert all("description" in response for response in operation["responses"].values())
    (path,) = (path for path, operations in DOCUMENT["paths"].items() if "get" in operations)
    assert [p["name"] for p in GET["parameters"] if p["in"] == "path"] == ["owner"]
    assert "{owner}" in path
    found = [*schemas(DOCUMENT), *DOCUMENT["components"]["schemas"].values()]
    assert len(found) > 5
    for schema in found:
        validator(schema)
    for reference in references(DOCUMENT):
        node = DOCUMENT
        for key in reference.removeprefix("#/").split("/"):
            node = node[key]
    assert {key for each in DOCUMENT["security"] for key in each} == DOCUMENT["components"]["securitySchemes"].keys()


def test_it_names_each_status_that_is_about_the_service_and_not_the_owner() -> None:
    for status in http.NOT_ABOUT_THE_OWNER:
        assert f" {status}," in DOCUMENT["info"]["description"]


@pytest.mark.parametrize("name", sorted(JSON["examples"]))
def test_each_example_is_an_answer_by_its_schema_and_for_the_source(name: str) -> None:
    example = JSON["examples"][name]["value"]
    validator(JSON["schema"]).validate(example)
    found = read(json.dumps(example).encode(), "auths" if name == "auths" else Fields(items="credentials"))
    assert [c.username for c in found.credentials] == ["alice"]
    assert not found.problems


def test_a_post_and_its_answer_are_in_the_document(tmp_path: Path) -> None:
    async def scenario(service: tokenservice.TokenService) -> None:
        config = HttpSource(url=service.url, batch_url=service.batch_url, ca_file=service.ca_file)
        remote = HttpRemote(config, _never)
        found = await remote.ask_many(["alice", "nobody"])
        assert [type(answer) for answer in found.values()] == [Answer, Answer]
        await remote.close()

    with tokenservice.serving(tmp_path) as service:
        service.give("alice", credential())
        asyncio.run(scenario(service))
    ((status, headers, body),) = service.answers
    response = POST["responses"][str(status)]
    content = response["content"]["application/json"]
    for answer in (json.loads(body), *(example["value"] for example in content["examples"].values())):
        validator(content["schema"]).validate(answer)
    assert {*headers} <= response["headers"].keys()
    asked = POST["requestBody"]["content"]["application/json"]
    for question in ({"owners": [*service.batches[0]]}, asked["example"]):
        validator(asked["schema"]).validate(question)
    assert asked["schema"]["properties"]["owners"]["maxItems"] == MAX_OWNERS
    parameters = {p["name"].lower(): p["schema"] for p in POST["parameters"]}
    (sent,) = service.asked
    assert sent.headers.keys() - {"host", "user-agent", "content-type", "content-length"} == parameters.keys()
    for name, schema in parameters.items():
        validator(schema).validate(sent.headers[name])


def test_the_figures_and_statuses_of_a_post() -> None:
    said = DOCUMENT["info"]["description"]
    assert f"up to {MAX_OWNERS} of them" in said
    assert f"over {MAX_SIZE // 1024**2} MiB" in said
    assert "after {}, {} and {}".format(*http.ABOUT_SOME_OWNERS) in said


def test_what_is_asked_and_answered_is_in_the_document(tmp_path: Path) -> None:
    async def scenario(service: tokenservice.TokenService) -> None:
        remote = HttpRemote(HttpSource(url=service.url, ca_file=service.ca_file, token_file=str(token)), _never)
        first = await remote.ask("alice", None)
        assert (await remote.ask("alice", first)).credentials is first.credentials
        assert (await remote.ask("nobody", None)).credentials == Credentials()
        await remote.close()

    token = tmp_path / "token"
    token.write_text("not-planted")
    with tokenservice.serving(tmp_path / "service", token="not-planted") as service:
        service.give("alice", credential())
        asyncio.run(scenario(service))
    assert [str(status) for status, _, _ in service.answers] == ["200", "304", "404"]
    for status, headers, body in service.answers:
        response = GET["responses"][str(status)]
        if "content" in response:
            validator(JSON["schema"]).validate(json.loads(body))
            assert {*headers} <= response["headers"].keys()
    (bearer,) = (each for each in DOCUMENT["components"]["securitySchemes"].values() if each["type"] == "http")
    parameters = {p["name"].lower(): p["schema"] for p in GET["parameters"] if p["in"] == "header"}
    for asked in service.asked:
        assert asked.headers["authorization"].lower().startswith(bearer["scheme"])
        sent = asked.headers.keys() - {"authorization", "host", "user-agent"}
        assert sent <= parameters.keys()
        for name in sent:
            validator(parameters[name]).validate(asked.headers[name])
    assert "if-none-match" in service.asked[1].headers


def _never() -> Any:
    raise AssertionError("no Retry-After here")
