"""Unlocking: a table of what can happen to a release on its way, and what each recipient is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from example_release import FILES, Example, make_example

from medlocker.blending import Logo, Placement, estimate_original, lock, pixel_sha256, prepare_mark
from medlocker.errors import LogoError, ReleaseError, SettingsError, WrongKeyError
from medlocker.executors import Threads
from medlocker.imageio import StoredImage, decode_image, embed_packet, encode_image, extract_packet, read_image
from medlocker.keys import KeyDocument, UnlockedImage, decode_logo, restore_image, unlock_release, vault_key
from medlocker.keys.losses import expected_loss
from medlocker.release import MANIFEST_NAME


def _assert_restored(example: Example, out: Path, ids: set[str]) -> None:
    for name in ids:
        restored = read_image(out / FILES[name][0]).pixels
        assert restored.dtype == example.originals[name].dtype
        assert (restored == example.originals[name]).all()


@pytest.mark.parametrize("workers", [1, 3])
def test_every_image_comes_back_bit_for_bit(example: Example, tmp_path: Path, workers: int) -> None:
    told: list[UnlockedImage] = []
    report = unlock_release(
        example.folder, example.key, tmp_path / "out", executor=Threads(workers), on_image=told.append
    )
    assert report.complete and [image.status for image in report.images] == ["restored"] * 4
    assert tuple(told) == report.images and not report.not_in_key
    assert [image.message for image in report.images] == [""] * 4
    _assert_restored(example, tmp_path / "out", {*FILES})


def test_the_owner_unlocks_with_the_vault(example: Example, tmp_path: Path) -> None:
    assert unlock_release(example.folder, vault_key(example.vault), tmp_path / "out").complete


# What happens to image "a" of the release, and the error that is told of it.


def _delete(example: Example) -> None:
    example.file("a").unlink()


def _empty(example: Example) -> None:
    example.file("a").write_bytes(b"")


def _truncate(example: Example) -> None:
    whole = example.file("a").read_bytes()
    example.file("a").write_bytes(whole[: len(whole) // 2])


def _replace_by_text(example: Example) -> None:
    example.file("a").write_text("not an image")


def _change_a_pixel(example: Example) -> None:
    image = read_image(example.file("a"))
    pixels = image.pixels.copy()
    pixels[-1, -1, 0] ^= 1
    packet = extract_packet(example.file("a").read_bytes())
    example.file("a").write_bytes(embed_packet(encode_image(StoredImage(pixels), ".png"), packet or b""))


def _save_as_jpeg(example: Example) -> None:
    _, encoded = cv2.imencode(".jpg", read_image(example.file("a")).pixels)
    example.file("a").write_bytes(bytes(encoded))


def _swap_files(example: Example) -> None:
    a, b = example.file("a").read_bytes(), example.file("b").read_bytes()
    example.file("a").write_bytes(b)
    example.file("b").write_bytes(a)


def _with_packet(example: Example, packet: bytes | None) -> None:
    bare = encode_image(decode_image(example.file("a").read_bytes(), "a"), ".png")
    example.file("a").write_bytes(bare if packet is None else embed_packet(bare, packet))


def _packet(example: Example, name: str) -> bytes:
    packet = extract_packet(example.file(name).read_bytes())
    assert packet is not None
    return packet


def _strip_packet(example: Example) -> None:
    _with_packet(example, None)


def _take_packet_of_b(example: Example) -> None:
    _with_packet(example, _packet(example, "b"))


def _flip_a_bit_of_the_packet(example: Example) -> None:
    packet = bytearray(_packet(example, "a"))
    packet[-1] ^= 1
    _with_packet(example, bytes(packet))


def _damage_the_packet_chunk(example: Example) -> None:
    whole = example.file("a").read_bytes()
    example.file("a").write_bytes(whole.replace(_packet(example, "a"), bytes(len(_packet(example, "a")))))


def _cut_the_packet(example: Example) -> None:
    _with_packet(example, _packet(example, "a")[:20])


def _take_packet_of_another_release(example: Example) -> None:
    other = example.folder.parent / "other"
    other.mkdir()
    _with_packet(example, _packet(make_example(other, seed=0, release_id="cd" * 16), "a"))


def _take_packet_under_another_secret(example: Example) -> None:
    other = example.folder.parent / "other"
    other.mkdir()
    _with_packet(example, _packet(make_example(other, seed=7), "a"))


def _link_out_of_the_release(example: Example) -> None:
    outside = example.folder.parent / "outside.png"
    example.file("a").rename(outside)
    example.file("a").symlink_to(outside)


FAULTS: dict[Callable[[Example], None], str] = {
    _delete: "MissingImageError",
    _empty: "EmptyImageError",
    _truncate: "ImageReadError",
    _replace_by_text: "UnsupportedImageError",
    _change_a_pixel: "AlteredImageError",
    _save_as_jpeg: "AlteredImageError",
    _swap_files: "AlteredImageError",
    _strip_packet: "MissingPacketError",
    _take_packet_of_b: "CorruptPacketError",
    _flip_a_bit_of_the_packet: "CorruptPacketError",
    _damage_the_packet_chunk: "CorruptPacketError",
    _cut_the_packet: "CorruptPacketError",
    _take_packet_of_another_release: "CorruptPacketError",
    _take_packet_under_another_secret: "WrongKeyError",
    _link_out_of_the_release: "ReleaseError",
}


@pytest.mark.parametrize(("fault", "error"), FAULTS.items(), ids=[fault.__name__.lstrip("_") for fault in FAULTS])
def test_a_fault_is_named_and_stops_no_other_image(
    example: Example, tmp_path: Path, fault: Callable[[Example], None], error: str
) -> None:
    fault(example)
    report = unlock_release(example.folder, example.key, tmp_path / "out")
    outcome = {image.id: (image.status, image.error) for image in report.images}
    hit = {"a", "b"} if fault is _swap_files else {"a"}
    assert {name: outcome[name] for name in hit} == dict.fromkeys(hit, ("failed", error))
    assert not report.complete and all(image.message for image in report.images if image.id in hit)
    assert not (tmp_path / "out" / "a.png").exists()
    assert {name for name, (status, _) in outcome.items() if status == "restored"} == {*FILES} - hit
    _assert_restored(example, tmp_path / "out", {*FILES} - hit)


def _recompress(example: Example) -> None:
    path = example.file("a")
    _, encoded = cv2.imencode(
        ".png", cv2.cvtColor(read_image(path).pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 9]
    )
    path.write_bytes(embed_packet(bytes(encoded), _packet(example, "a")))


def _move_packet_beside(example: Example) -> None:
    packet = _packet(example, "a")
    _with_packet(example, None)
    (example.folder / "a.png.mlrp").write_bytes(packet)


def _add_files(example: Example) -> None:
    (example.folder / "notes.txt").write_text("hello")
    (example.folder / "more.png").write_bytes(b"")


@pytest.mark.parametrize("change", [_recompress, _move_packet_beside, _add_files])
def test_changes_that_keep_pixels_and_packet_do_no_harm(
    example: Example, tmp_path: Path, change: Callable[[Example], None]
) -> None:
    change(example)
    assert unlock_release(example.folder, example.key, tmp_path / "out").complete
    _assert_restored(example, tmp_path / "out", {*FILES})


def test_a_missing_sidecar_is_a_missing_packet(example: Example, tmp_path: Path) -> None:
    (example.folder / "scan.tif.mlrp").unlink()
    report = unlock_release(example.folder, example.key, tmp_path / "out")
    assert [image.error for image in report.images] == [None, None, None, "MissingPacketError"]


def test_a_key_of_another_release_opens_nothing(example: Example, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = make_example(tmp_path / "other", release_id="cd" * 16)
    with pytest.raises(WrongKeyError, match="the key is for release cdcd"):
        unlock_release(example.folder, other.key, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_key_for_some_images_opens_only_those(example: Example, tmp_path: Path) -> None:
    subset = example.key.model_copy(update={"images": example.key.images[:2]})
    report = unlock_release(example.folder, subset, tmp_path / "out")
    assert report.complete and report.not_in_key == ("grey16", "scan")
    assert sorted(p.name for p in (tmp_path / "out").rglob("*") if p.is_file()) == ["a.png", "b.png"]


def _with_image(key: KeyDocument, **change: object) -> KeyDocument:
    return key.model_copy(update={"images": (key.images[0].model_copy(update=change), *key.images[1:])})


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"x": 4}, "UnlockError"),
        ({"alpha": 181}, "UnlockError"),
        ({"x": 1000}, "UnlockError"),
        ({"original_sha256": "0" * 64}, "UnlockError"),
        ({"packet_key": bytes(32)}, "WrongKeyError"),
        ({"file": "../release/a.png"}, "ReleaseError"),
    ],
    ids=str,
)
def test_a_key_that_lies_restores_nothing(
    example: Example, tmp_path: Path, change: dict[str, object], error: str
) -> None:
    report = unlock_release(example.folder, _with_image(example.key, **change), tmp_path / "out")
    assert (report.images[0].status, report.images[0].error) == ("failed", error)
    assert not (tmp_path / "out" / "a.png").exists()


def test_a_key_with_another_logo_is_refused(example: Example, tmp_path: Path) -> None:
    with pytest.raises(LogoError):
        unlock_release(example.folder, example.key.model_copy(update={"logo_sha256": "0" * 64}), tmp_path / "out")


@pytest.mark.parametrize("inside", ["", "originals", "sub/../."])
def test_originals_never_go_into_the_release(example: Example, inside: str) -> None:
    with pytest.raises(SettingsError, match="lies in the release"):
        unlock_release(example.folder, example.key, example.folder / inside)


def test_a_link_in_the_output_folder_is_not_followed_out_of_it(example: Example, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").symlink_to(tmp_path / "elsewhere")
    report = unlock_release(example.folder, example.key, tmp_path / "out")
    assert report.images[1].error == "ReleaseError"
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_second_run_does_only_what_is_missing(example: Example, tmp_path: Path) -> None:
    unlock_release(example.folder, example.key, tmp_path / "out")
    (tmp_path / "out" / "a.png").unlink()
    untouched = (tmp_path / "out" / "sub" / "b.png").stat().st_mtime_ns
    report = unlock_release(example.folder, example.key, tmp_path / "out")
    assert [image.skipped for image in report.images] == [False, True, True, True]
    assert (tmp_path / "out" / "sub" / "b.png").stat().st_mtime_ns == untouched
    _assert_restored(example, tmp_path / "out", {*FILES})


@pytest.mark.parametrize("content", [b"mine", b""])
def test_a_file_that_differs_is_not_overwritten(example: Example, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").write_bytes(content)
    report = unlock_release(example.folder, example.key, tmp_path / "out")
    assert "not overwritten" in report.images[0].message
    assert (tmp_path / "out" / "a.png").read_bytes() == content


def test_lossy_falls_back_to_the_formula_and_says_what_it_costs(example: Example, tmp_path: Path) -> None:
    _strip_packet(example)
    for _ in range(2):
        report = unlock_release(example.folder, example.key, tmp_path / "out", lossy=True)
        first = report.images[0]
        assert (first.status, first.error) == ("lossy", "MissingPacketError")
        assert report.complete and "PSNR" in first.message
    original = example.originals["a"]
    mark = prepare_mark(decode_logo(example.key), original.shape, original.dtype, logo_scale=2.0)
    placement = Placement(180, 3, 2)
    expected = estimate_original(lock(original, mark, placement), mark, placement)
    assert (read_image(tmp_path / "out" / "a.png").pixels == expected).all()


def test_lossy_never_accepts_a_damaged_packet_or_image(example: Example, tmp_path: Path) -> None:
    _flip_a_bit_of_the_packet(example)
    report = unlock_release(example.folder, example.key, tmp_path / "out", lossy=True)
    assert (report.images[0].status, report.images[0].error) == ("failed", "CorruptPacketError")


@pytest.mark.parametrize("alpha", [0, 100, 200, 254, 255])
def test_the_expected_loss_is_what_uniform_originals_show(alpha: int) -> None:
    # Every 8-bit value equally often is the very prior behind the expectation.
    original = np.arange(256, dtype=np.uint8).reshape(16, 16)
    rgba = np.full((16, 16, 4), 255, dtype=np.uint8)
    mark = prepare_mark(Logo(rgba), original.shape, np.uint8, logo_scale=1.0)
    placement = Placement(alpha, 0, 0)
    marked = lock(original, mark, placement)
    estimate = estimate_original(marked, mark, placement)
    loss = expected_loss(marked, estimate, mark, placement)
    error = (original.astype(float) - estimate) ** 2
    assert loss.inexact == pytest.approx((error > 0).mean())
    assert 255**2 * 10 ** (-loss.expected_psnr / 10) == pytest.approx(error.mean())
    assert loss.worst_psnr <= loss.expected_psnr


def test_one_image_can_be_restored_in_memory(example: Example) -> None:
    restored = restore_image(example.folder, example.key, example.key.images[2])
    assert pixel_sha256(restored.pixels) == example.key.images[2].original_sha256


def test_a_release_without_manifest_is_refused(example: Example, tmp_path: Path) -> None:
    (example.folder / MANIFEST_NAME).unlink()
    with pytest.raises(ReleaseError, match="not a finished release"):
        unlock_release(example.folder, example.key, tmp_path / "out")


def test_a_report_is_plain_json(example: Example, tmp_path: Path) -> None:
    report = unlock_release(example.folder, example.key, tmp_path / "out")
    assert json.loads(report.model_dump_json())["images"][0]["status"] == "restored"
