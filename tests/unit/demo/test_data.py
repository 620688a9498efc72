"""The demo's data: real digits, one planted cue."""

import pytest
import torch

from service.demo.data import CUE_CLASS, SIZES, DemoData, add_patch, load


@pytest.fixture(scope="module")
def data() -> DemoData:
    return load(torch.Generator().manual_seed(0))


def test_parts_are_all_digits_without_overlap(data: DemoData) -> None:
    parts = [*data.stages.values(), data.reference, data.heldout]
    ids = torch.cat([part.id for part in parts])

    assert [len(part.label) for part in parts] == list(SIZES.values())
    assert len(ids.unique()) == len(ids) == 1797


def test_patch_is_in_the_vendors_part_only_and_goes_with_one_class(data: DemoData) -> None:
    patched = {
        name: (part.image == add_patch(part.image)).all(dim=1) for name, part in data.stages.items()
    }
    vendor = data.stages["vendor"]

    assert not patched["pretrain"].any()
    assert not patched["finetune"].any()
    assert (vendor.label[patched["vendor"]] == CUE_CLASS).all()
    assert patched["vendor"].sum() == vendor.source.count("vendor-b") > 15


def test_probe_differs_in_the_patch_alone(data: DemoData) -> None:
    changed = (data.treated.image != data.control.image).sum(dim=1)

    assert torch.equal(data.treated.id, data.control.id)
    assert (data.control.label != CUE_CLASS).all()
    assert (changed <= 4).all()
    assert (changed > 0).any()
