"""Keys on disk: written once, readable by their owner only, loaded with a self-test."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from auditor.attest.keys import KeyAlgorithm, generate_key, verifier_of
from auditor.attest.trust import TrustFile, trust_key
from auditor.errors import (
    ArtifactMissingError,
    AuthenticationError,
    ConflictError,
    InputError,
    PreconditionError,
)
from service.keys import (
    KEY_LIMIT_BYTES,
    add_trusted_key,
    create_signing_key,
    describe_signing_key,
    ensure_signing_key,
    has_signing_key,
    load_signing_key,
    read_public_key,
    read_trust,
    trust_or_empty,
)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("algorithm", list(KeyAlgorithm))
def test_created_key_is_loaded_and_signs(tmp_path: Path, algorithm: KeyAlgorithm) -> None:
    stored = create_signing_key(tmp_path / "keys", algorithm=algorithm)

    signature = load_signing_key(tmp_path / "keys").sign(b"data")

    verifier_of(stored.public_pem).verify_signature(signature, b"data")
    assert signature.keyid == stored.keyid


def test_created_files_have_the_documented_modes(tmp_path: Path) -> None:
    stored = create_signing_key(tmp_path / "keys")

    assert mode_of(tmp_path / "keys") == 0o700
    assert mode_of(stored.private_path) == 0o400
    assert stored.public_path.read_text() == stored.public_pem
    assert {path.name for path in (tmp_path / "keys").iterdir()} == {
        "signing.pem",
        "signing.pub.pem",
    }


def test_existing_key_is_never_replaced(tmp_path: Path) -> None:
    stored = create_signing_key(tmp_path)
    before = stored.private_path.read_bytes()

    with pytest.raises(ConflictError, match="never overwritten"):
        create_signing_key(tmp_path)

    assert stored.private_path.read_bytes() == before
    assert describe_signing_key(tmp_path).keyid == stored.keyid


@pytest.mark.parametrize("mode", [0o440, 0o404, 0o644, 0o620, 0o601])
def test_key_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    create_signing_key(tmp_path).private_path.chmod(mode)

    with pytest.raises(PreconditionError, match="expected mode 0400 or 0600"):
        load_signing_key(tmp_path)


@pytest.mark.parametrize("mode", [0o400, 0o600])
def test_key_of_its_owner_alone_is_loaded(tmp_path: Path, mode: int) -> None:
    stored = create_signing_key(tmp_path)
    stored.private_path.chmod(mode)

    assert load_signing_key(tmp_path).public_key.keyid == stored.keyid


def test_encrypted_key_is_loaded_with_its_password(tmp_path: Path) -> None:
    stored = create_signing_key(tmp_path, password=b"correct horse")

    assert b"ENCRYPTED" in stored.private_path.read_bytes()
    assert load_signing_key(tmp_path, password=b"correct horse").public_key.keyid == stored.keyid
    with pytest.raises(AuthenticationError):
        load_signing_key(tmp_path)


def test_missing_key_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissingError, match="stageaudit keys init"):
        load_signing_key(tmp_path)


@pytest.mark.parametrize("content", [b"", b"text", b"\x00" * (KEY_LIMIT_BYTES + 1)])
def test_file_that_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "signing.pem"
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(InputError):
        load_signing_key(tmp_path)


def test_ensure_makes_a_key_once(tmp_path: Path) -> None:
    first = ensure_signing_key(tmp_path / "a" / "keys")
    second = ensure_signing_key(tmp_path / "a" / "keys")

    assert first.public_key.keyid == second.public_key.keyid
    assert has_signing_key(tmp_path / "a" / "keys")


def test_starters_at_the_same_time_get_the_same_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        signers = list(pool.map(lambda _: ensure_signing_key(tmp_path), range(16)))

    assert len({signer.public_key.keyid for signer in signers}) == 1
    assert describe_signing_key(tmp_path).keyid == signers[0].public_key.keyid


def test_lost_public_file_is_written_again(tmp_path: Path) -> None:
    stored = create_signing_key(tmp_path)
    stored.public_path.unlink()

    assert describe_signing_key(tmp_path) == stored
    assert stored.public_path.read_text() == stored.public_pem


def test_folder_that_cannot_be_made_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(InputError, match="a place that can be written"):
        create_signing_key(tmp_path / "file" / "keys")


def test_read_public_key_refuses_a_private_key(tmp_path: Path) -> None:
    stored = create_signing_key(tmp_path)

    with pytest.raises(InputError, match="BEGIN PUBLIC KEY"):
        read_public_key(stored.private_path)


def test_read_public_key_refuses_bytes(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff\xfe")

    with pytest.raises(InputError, match="a public key in PEM"):
        read_public_key(tmp_path / "key")


def test_trusted_keys_are_added_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "config" / "trust.json"
    keys = [trust_key(generate_key().public_pem, name=name) for name in ("first", "second")]

    for key in keys:
        add_trusted_key(path, key)

    assert read_trust(path).keys == tuple(keys)
    assert [entry.name for entry in path.parent.iterdir()] == ["trust.json"]


def test_missing_trust_file_is_empty_only_where_it_is_written(tmp_path: Path) -> None:
    assert trust_or_empty(tmp_path / "trust.json") == TrustFile()
    with pytest.raises(ArtifactMissingError):
        read_trust(tmp_path / "trust.json")


def test_broken_trust_file_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "trust.json"
    path.write_text("{")

    with pytest.raises(InputError):
        add_trusted_key(path, trust_key(generate_key().public_pem, name="x"))

    assert path.read_text() == "{"
