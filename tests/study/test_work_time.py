"""The work time of a study, as stored with it."""

import pytest
import sqlalchemy as sa

from tests.study.test_next_trial import Bench
from tuner.storage.tables import study_attributes
from tuner.study.budget import Budget
from tuner.study.work_time import NOTED


@pytest.mark.parametrize("text", ["x", "[1]", '{"": "long", "a": -1, "b": NaN}', "{"])
def test_a_note_of_times_that_is_none_is_passed_over(tmp_path, text):
    study = Bench(tmp_path, Budget(n_trials=1)).study
    study.storage.set_study_user_attr(study.id, NOTED, {})
    with study.storage.engine.begin() as connection:
        noted = sa.update(study_attributes).where(study_attributes.c.key == NOTED)
        connection.execute(noted.values(value_json=text))
    assert study.times().hours == 0
    study.start("cpu", 1).book()
