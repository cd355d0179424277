"""The hub adapter against a local server that implements the necessary part of the hub's protocol."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from phantom_dist.core.errors import InputError
from phantom_dist.models.adapter import ModelFolder, Permissions
from phantom_dist.models.description import describe
from phantom_dist.models.hub import Hub
from phantom_dist.models.identity import weights_digest
from phantom_dist.models.load import load
from phantom_dist.models.metadata import recorded
from phantom_dist.models.registry import adapter_for

from . import tiny

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NOBODY = "http://127.0.0.1:9"
NOTHING_ALLOWED = Permissions()


class _HubHandler(BaseHTTPRequestHandler):
    root: Path

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0].strip("/").split("/")
        api = path[:2] == ["api", "models"]
        name, rest = ("/".join(path[2:4]), path[4:]) if api else ("/".join(path[:2]), path[2:])
        if name == "tiny/gated" and not api:
            return self._send(403, b"", {"X-Error-Code": "GatedRepo"})
        folder = self.root / name
        if not folder.is_dir():
            return self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
        if api and rest[:1] == ["tree"]:
            return self._json([self._entry(f) for f in sorted(folder.iterdir())])
        if api:
            siblings = [{"rfilename": f.name} for f in sorted(folder.iterdir())]
            return self._json({"id": name, "sha": COMMIT, "siblings": siblings})
        return self._send(200, (folder / rest[-1]).read_bytes(), {"ETag": f'"{_etag(folder / rest[-1])}"'})

    def _entry(self, file: Path) -> dict[str, object]:
        return {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": _etag(file)}

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "X-Repo-Commit": COMMIT, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def _etag(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hub")
    tiny.write_folder(root / "tiny" / "gpt2")
    (root / "tiny" / "gpt2" / "flax_model.msgpack").write_bytes(b"not wanted")
    tiny.write_folder(root / "tiny" / "gated")
    tiny.write_pickled(root / "tiny" / "pickled")
    tiny.write_folder(root / "tiny" / "both")
    (root / "tiny" / "adapter").mkdir()
    for name in ("both", "adapter"):
        (root / "tiny" / name / "adapter_config.json").write_text('{"peft_type": "LORA"}')
        save_file({"x": torch.ones(1)}, root / "tiny" / name / "adapter_model.safetensors")
    tiny.write_folder(root / "tiny" / "apart", tiny.llama())
    tiny.edit_config(root / "tiny" / "apart", tie_word_embeddings=True)
    return root


@pytest.fixture(scope="module")
def endpoint(served: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_HubHandler,), {"root": served}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def hub(endpoint: str, tmp_path: Path, cache: Path) -> Hub:
    return Hub(endpoint=endpoint, cache_dir=str(tmp_path / "hub"))


def test_a_model_is_fetched_with_its_tokenizer_and_without_other_frameworks(hub: Hub, served: Path) -> None:
    folder = hub.resolve("tiny/gpt2", NOTHING_ALLOWED)
    assert folder == ModelFolder(reference="tiny/gpt2", path=folder.path, title="gpt2")
    assert weights_digest(folder.path) == weights_digest(served / "tiny" / "gpt2")
    assert (folder.path / "tokenizer.json").is_file()
    assert not (folder.path / "flax_model.msgpack").exists()


def test_a_description_fetches_the_configuration_alone(hub: Hub, tmp_path: Path) -> None:
    metadata = hub.describe("tiny/gpt2", NOTHING_ALLOWED)
    assert (metadata.verified, metadata.architecture, metadata.width) == (True, "GPT2LMHeadModel", 32)
    assert {f.name for f in (tmp_path / "hub").rglob("snapshots/*/*")} == {"config.json"}


def test_a_fetched_model_is_used_without_the_hub(hub: Hub) -> None:
    fetched = hub.resolve("tiny/gpt2", NOTHING_ALLOWED)
    offline = Hub(endpoint=NOBODY, cache_dir=hub.cache_dir)
    assert offline.resolve("tiny/gpt2", NOTHING_ALLOWED) == fetched
    assert offline.describe("tiny/gpt2", NOTHING_ALLOWED).verified


def test_pickled_weights_are_refused_unfetched(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'tiny/pickled' holds only pickled weights \(pytorch_model\.bin\)"):
        hub.resolve("tiny/pickled", NOTHING_ALLOWED)
    assert not list((tmp_path / "hub").rglob("*.bin"))


def test_pickled_weights_are_converted_where_they_are_allowed(hub: Hub, cache: Path) -> None:
    folder = hub.resolve("tiny/pickled", Permissions(pickle=True))
    assert folder.path.parent == cache / "pickle"
    assert (folder.path / "model.safetensors").is_file()


def test_an_adapter_says_how_it_is_written(hub: Hub) -> None:
    for ask in (hub.resolve, hub.describe):
        with pytest.raises(
            InputError, match=r"'tiny/adapter' is an adapter without the model it belongs to .* peft:/"
        ):
            ask("tiny/adapter", NOTHING_ALLOWED)


def test_a_model_with_an_adapter_beside_it_is_refused(hub: Hub) -> None:
    for ask in (hub.resolve, hub.describe):
        with pytest.raises(InputError, match="'tiny/both' holds a model's weights and an adapter"):
            ask("tiny/both", NOTHING_ALLOWED)


def test_what_was_fetched_says_which_matrices_are_one(hub: Hub) -> None:
    """Before fetching the weights `describe` trusts the configuration; afterwards it agrees with the loaded model."""
    assumed = hub.describe("tiny/apart", NOTHING_ALLOWED)
    folder = hub.resolve("tiny/apart", NOTHING_ALLOWED)
    known = hub.describe("tiny/apart", NOTHING_ALLOWED)
    assert (assumed.tied, known.tied) == (True, False)
    assert known.parameters == load(str(folder.path)).identity.parameters


def test_a_name_that_nobody_has_is_refused(hub: Hub) -> None:
    for ask in (hub.resolve, hub.describe):
        with pytest.raises(InputError, match="model 'tiny/none': no such model on the Hugging Face hub"):
            ask("tiny/none", NOTHING_ALLOWED)


def test_a_gated_model_says_what_to_do(hub: Hub) -> None:
    with pytest.raises(InputError, match="model 'tiny/gated' is gated: accept its licence"):
        hub.resolve("tiny/gated", NOTHING_ALLOWED)


@pytest.mark.parametrize("name", sorted(recorded()))
def test_a_known_model_is_described_unverified_without_the_hub(name: str, tmp_path: Path) -> None:
    metadata = Hub(endpoint=NOBODY, cache_dir=str(tmp_path)).describe(name, NOTHING_ALLOWED)
    assert not metadata.verified
    assert "the Hugging Face hub can't be reached" in (metadata.reason or "")
    assert metadata.parameters == recorded()[name]["parameters"]
    assert metadata.reference == name


def test_an_unknown_model_is_an_error_without_the_hub(tmp_path: Path) -> None:
    hub = Hub(endpoint=NOBODY, cache_dir=str(tmp_path))
    with pytest.raises(
        InputError, match=r"no recorded metadata for it\. Did you mean 'EleutherAI/pythia-160m'"
    ):
        hub.describe("EleutherAI/pythia-161m", NOTHING_ALLOWED)
    with pytest.raises(
        InputError, match=r"not on this machine and the Hugging Face hub can't be reached \(.*hf download"
    ):
        hub.resolve("EleutherAI/pythia-160m", NOTHING_ALLOWED)


def test_the_prefix_says_that_a_name_is_the_hubs(hub: Hub, tmp_path: Path) -> None:
    """The prefix is used for names that readers of tables would parse as numbers (`spec.reference`)."""
    assert isinstance(adapter_for("hub:007"), Hub)
    folder = hub.resolve("hub:tiny/gpt2", NOTHING_ALLOWED)
    assert (folder.reference, folder.title) == ("hub:tiny/gpt2", "gpt2")
    assert folder.path == hub.resolve("tiny/gpt2", NOTHING_ALLOWED).path
    assert hub.describe("hub:tiny/gpt2", NOTHING_ALLOWED).title == "gpt2"
    with pytest.raises(InputError, match="model 'hub:tiny/pickled' holds only pickled weights"):
        hub.resolve("hub:tiny/pickled", NOTHING_ALLOWED)
    offline = Hub(endpoint=NOBODY, cache_dir=str(tmp_path / "none"))
    known = offline.describe("hub:EleutherAI/pythia-160m", NOTHING_ALLOWED)
    assert (known.reference, known.verified) == ("hub:EleutherAI/pythia-160m", False)


def test_an_existing_folder_goes_before_a_hub_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.write_folder(tmp_path / "gpt2")
    assert describe("gpt2").width == 32
