from __future__ import annotations

from dataclasses import replace

import pytest

from core.distillation.response import ERRORS
from core.errors import UnknownNameError
from core.forms import DEFAULT_FORM, FORMS, find_form, form_of
from core.stgcn_config import STGCNConfig


def test_forms_are_found_by_name():
    assert find_form("direct") is FORMS["direct"]
    with pytest.raises(UnknownNameError, match="unknown form 'dierct'; did you mean 'direct'"):
        find_form("dierct")


def test_the_default_is_one_of_them():
    assert DEFAULT_FORM in FORMS


@pytest.mark.parametrize("form", FORMS.values())
def test_its_networks_can_be_built_and_its_error_is_known(form):
    for channels in (form.student, form.teacher):
        assert STGCNConfig(6, channels, **vars(form.network)).parameters > 0
    assert form.error in ERRORS


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("rank", [None, 1, 9])
def test_a_network_says_which_form_it_has_whatever_its_rank(name, rank):
    form = FORMS[name]
    assert form_of(STGCNConfig(6, form.student, **vars(form.with_rank(rank)))) == name


def test_a_mixture_has_no_name():
    mixed = replace(FORMS["direct"].network, skip=False)
    assert form_of(STGCNConfig(6, **vars(mixed))) is None


def test_a_form_takes_another_rank():
    assert FORMS["direct"].with_rank(7).sensor_rank == 7
    assert FORMS["direct"].with_rank(None) is FORMS["direct"].network
