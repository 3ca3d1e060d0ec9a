import hashlib
import http.server
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import pull as pulling
from pipeline import registry
from pipeline.errors import Failed, Usage
from pipeline.home import home, keys
from pipeline.pull import pull

FILE = b"pretend that this is a model" * 50_000  # larger than a block
NAMES = ["fastestdet", "mobilefacenet", "ultraface", "yunet", "yunet_320", "yunet_640"]


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FRAMEWIRE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue with one model of each kind: shipped "here", upstream "there"."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    (folder / "here.onnx").write_bytes(b"here")
    digest = hashlib.sha256(b"here").hexdigest()
    common = 'task = "detector"\nlicence = "MIT"\n'
    (folder / "here.toml").write_text(
        f'name = "here"\nfile = "here.onnx"\norigin = "us"\nsha256 = "{digest}"\nbytes = 4\n{common}'
        '[accuracy.wider]\nvalue = 0.9\ncommand = "make x"\n'
    )
    (folder / "upstream.toml").write_text(
        f'[[model]]\nname = "there"\nfile = "there v1.onnx"\n{common}layout = "yunet"\nmean = [1.0, 2.0, 3.0]\n'
        f'repository = "some/body"\npath = "a/b.onnx"\ncommit = "{"0" * 40}"\n'
        f'sha256 = "{hashlib.sha256(FILE).hexdigest()}"\nbytes = {len(FILE)}\n'
    )
    monkeypatch.setattr(registry, "SHIPPED", folder)
    return folder


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    (folder / "there v1.onnx").write_bytes(FILE)
    return folder


class Quiet(http.server.SimpleHTTPRequestHandler):
    cut = False  # promise the whole file, send half of it

    def log_message(self, *_: object) -> None:
        pass

    def copyfile(self, source, outputfile) -> None:  # type: ignore[no-untyped-def]
        if self.cut:
            outputfile.write(source.read(len(FILE) // 2))
        else:
            shutil.copyfileobj(source, outputfile)


@pytest.fixture
def server(mirror: Path) -> Iterator[str]:
    yield from serve(mirror, Quiet)


@pytest.fixture
def cutting_server(mirror: Path) -> Iterator[str]:
    yield from serve(mirror, type("Cutting", (Quiet,), {"cut": True}))


def serve(folder: Path, handler: type[Quiet]) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *args: handler(*args, directory=str(folder))) as site:
        thread = threading.Thread(target=site.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{site.server_port}/"
        site.shutdown()
        thread.join()


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("**/*") if path.is_file())


# The catalogue that ships


def test_the_shipped_catalogue_is_sound() -> None:
    entries = registry.upstream()
    assert sorted(entry.name for entry in entries) == NAMES
    for entry in entries:
        assert len(entry.sha256) == 64
        assert len(entry.commit) == 40
        assert entry.licence
        assert entry.address.startswith("https://")
        assert entry.address.endswith(f"/{entry.repository}/{entry.commit}/{entry.path}")


def test_the_shipped_catalogue_names_the_real_files(shared: Path) -> None:
    for entry in registry.upstream():
        file = shared / "weights" / entry.file
        assert (registry.sha256_of(file), file.stat().st_size) == (entry.sha256, entry.bytes)


def test_real_files_come_from_a_folder(shared: Path, own_home: Path) -> None:
    path = pull("yunet_320", mirror=str(shared / "weights"))
    assert path == own_home / "models" / "yunet_n_320_320.onnx"
    assert registry.resolve("yunet_320") == path
    assert registry.card_beside(path).layout == "yunet"


# Listing, verifying, resolving


def test_every_model_is_listed_once(catalogue: Path, mirror: Path) -> None:
    assert [(entry.card.name, entry.where) for entry in registry.list_models()] == [
        ("here", "shipped"),
        ("there", "upstream"),
    ]
    path = pull("there", mirror=str(mirror))
    assert [(entry.card.name, entry.where) for entry in registry.list_models()] == [
        ("here", "shipped"),
        ("there", "pulled"),
    ]
    assert registry.list_models()[1].path == path


def test_verify_tells_good_wrong_and_missing(catalogue: Path, mirror: Path) -> None:
    path = pull("there", mirror=str(mirror))

    def states() -> list[str]:
        return [verdict.state for verdict in registry.verify()]

    assert states() == ["ok", "ok"]
    path.write_bytes(FILE[:-1] + b"!")
    (catalogue / "here.onnx").unlink()
    assert states() == ["missing", "wrong"]


def test_a_forged_card_beside_a_forged_file_is_seen_through(catalogue: Path, mirror: Path) -> None:
    path = pull("there", mirror=str(mirror))
    path.write_bytes(b"forged")
    card = path.with_suffix(".toml")
    forged = hashlib.sha256(b"forged").hexdigest()
    card.write_text(card.read_text().replace(hashlib.sha256(FILE).hexdigest(), forged))
    assert registry.card_beside(path).sha256 == forged
    assert [verdict.state for verdict in registry.verify()] == ["ok", "wrong"]


def test_names_go_before_paths(catalogue: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").write_bytes(b"a file of that name")
    assert registry.resolve("here") == catalogue / "here.onnx"
    assert registry.resolve(tmp_path / "here") == tmp_path / "here"


def test_a_model_that_could_be_pulled_names_the_command(catalogue: Path) -> None:
    with pytest.raises(Usage, match=r"run: python run_pipeline\.py models pull there"):
        registry.resolve("there")


def test_an_unknown_model_lists_what_there_is(catalogue: Path) -> None:
    with pytest.raises(Usage, match="no model nobody: give the path of an ONNX file or one of here, there"):
        registry.resolve("nobody")


def test_a_broken_card_is_named(catalogue: Path) -> None:
    (catalogue / "here.toml").write_text("name = 3")
    with pytest.raises(Failed, match=r"cannot read .*here\.toml"):
        registry.list_models()


# Pulling


def test_pull_from_a_server_keeps_the_file_and_its_card(catalogue: Path, server: str, own_home: Path) -> None:
    path = pull("there", mirror=server)
    assert path == own_home / "models" / "there v1.onnx"
    assert path.read_bytes() == FILE
    card = registry.card_beside(path)
    assert (card.licence, card.layout, card.mean) == ("MIT", "yunet", (1, 2, 3))
    assert card.origin == f"some/body: a/b.onnx @{'0' * 40}"
    assert left(own_home) == ["there v1.onnx", "there v1.toml"]


def test_pull_into_another_folder(catalogue: Path, mirror: Path, tmp_path: Path, own_home: Path) -> None:
    assert pull("there", tmp_path / "else", str(mirror)).parent == tmp_path / "else"
    assert not own_home.exists()


def test_without_a_mirror_the_upstream_address_is_asked(
    catalogue: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry.Upstream, "address", property(lambda _: f"{server}there%20v1.onnx"))
    assert pull("there").read_bytes() == FILE


def test_what_is_there_already_is_not_fetched_again(catalogue: Path, mirror: Path) -> None:
    path = pull("there", mirror=str(mirror))
    (mirror / "there v1.onnx").unlink()
    path.with_suffix(".toml").unlink()
    assert pull("there", mirror=str(mirror)) == path
    assert registry.card_beside(path).licence == "MIT"


def test_a_damaged_file_is_replaced(catalogue: Path, mirror: Path) -> None:
    path = pull("there", mirror=str(mirror))
    path.write_bytes(b"damaged")
    assert pull("there", mirror=str(mirror)).read_bytes() == FILE


@pytest.mark.parametrize("content", [FILE[:-1] + b"!", FILE + b"!", b""], ids=["changed", "longer", "empty"])
@pytest.mark.parametrize("way", ["folder", "server"])
def test_a_wrong_file_is_refused_and_nothing_is_left(
    catalogue: Path, mirror: Path, server: str, own_home: Path, content: bytes, way: str
) -> None:
    (mirror / "there v1.onnx").write_bytes(content)
    with pytest.raises(Failed, match=r"another file|broke off"):
        pull("there", mirror=str(mirror) if way == "folder" else server)
    assert left(own_home) == []


def test_a_wrong_file_does_not_replace_what_was_there(catalogue: Path, mirror: Path, own_home: Path) -> None:
    path = pull("there", mirror=str(mirror))
    path.write_bytes(b"older")
    (mirror / "there v1.onnx").write_bytes(b"x" * len(FILE))
    with pytest.raises(Failed, match="another file"):
        pull("there", mirror=str(mirror))
    assert path.read_bytes() == b"older"
    assert left(own_home) == ["there v1.onnx", "there v1.toml"]


def test_a_transfer_that_breaks_off_leaves_nothing(catalogue: Path, cutting_server: str, own_home: Path) -> None:
    with pytest.raises(Failed, match=f"broke off after {len(FILE) // 2}"):
        pull("there", mirror=cutting_server)
    assert left(own_home) == []


def test_a_server_without_the_file(catalogue: Path, mirror: Path, server: str, own_home: Path) -> None:
    (mirror / "there v1.onnx").unlink()
    with pytest.raises(Failed, match=r"/there%20v1\.onnx answers 404"):
        pull("there", mirror=server)
    assert left(own_home) == []


def test_a_server_that_is_not_there(catalogue: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(Failed, match="cannot reach"):
        pull("there", mirror=f"http://127.0.0.1:{port}")


def test_a_server_that_says_nothing_is_given_up(
    catalogue: Path, monkeypatch: pytest.MonkeyPatch, own_home: Path
) -> None:
    monkeypatch.setattr(pulling, "TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(Failed, match=r"cannot reach .*timed out"):
        pull("there", mirror=f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert left(own_home) == []


@pytest.mark.parametrize("mirror", ["/no/such/folder", "ftp://somewhere", "file:///etc"])
def test_a_mirror_that_is_none(catalogue: Path, mirror: str) -> None:
    with pytest.raises(Usage, match="neither a folder nor an http"):
        pull("there", mirror=mirror)


def test_a_folder_without_the_file(catalogue: Path, tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"has no readable there v1\.onnx"):
        pull("there", mirror=str(tmp_path))


def test_an_unknown_name(catalogue: Path) -> None:
    with pytest.raises(Usage, match="no model here to pull: choose one of there"):
        pull("here")


def test_a_destination_that_cannot_be_written(catalogue: Path, mirror: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(Failed, match="cannot write"):
        pull("there", tmp_path / "file", str(mirror))


# Places


def test_data_and_keys_are_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert home() == tmp_path / "home"
    for variable in ("FRAMEWIRE_HOME", "FRAMEWIRE_KEYS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert (home(), keys()) == (tmp_path / "data/framewire", tmp_path / "config/framewire/keys")
    monkeypatch.setenv("FRAMEWIRE_KEYS", "/safe")
    assert keys() == Path("/safe")
    assert not (tmp_path / "data").exists()
