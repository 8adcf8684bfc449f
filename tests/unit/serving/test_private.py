"""What we rely on of libraries beyond what they promise: an upgrade that takes it away fails here, with its name."""

import inspect

import pytest
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import Server, ServerState


@pytest.mark.parametrize(
    "attribute",
    [
        "cycle", "flow", "headers", "loop", "parser", "pipeline", "scope", "server_state", "timeout_keep_alive",
        "timeout_keep_alive_handler", "transport", "url", "connections", "config",
    ],
)  # fmt: skip
def test_the_protocol_has(attribute: str) -> None:
    assert f"self.{attribute}" in inspect.getsource(HttpToolsProtocol)


@pytest.mark.parametrize(
    "method",
    [
        "on_message_begin", "on_headers_complete", "on_body", "on_message_complete", "on_response_complete",
        "data_received", "connection_made", "connection_lost", "shutdown", "_unset_keepalive_if_required",
    ],
)  # fmt: skip
def test_the_protocol_is_called_by(method: str) -> None:
    assert callable(getattr(HttpToolsProtocol, method))


def test_its_parts_have() -> None:
    cycle, flow = inspect.getsource(RequestResponseCycle), inspect.getsource(FlowControl)
    assert all(f"self.{name}" in cycle for name in ("response_complete", "keep_alive"))
    assert "self.write_paused" in flow
    assert {"connections", "tasks", "total_requests"} <= vars(ServerState()).keys()
    assert {"started", "should_exit"} <= vars(Server(Config(app=""))).keys()
    assert "await self._serve(sockets)" in inspect.getsource(Server.serve)


def test_the_kubernetes_client_has() -> None:
    """What is sent with each kind of login is in tests/unit/kube/test_cluster.py."""
    assert callable(Configuration.auth_settings)
    request = inspect.signature(RESTClientObject.request)
    assert {"method", "url", "headers", "body", "_request_timeout"} <= request.parameters.keys()
