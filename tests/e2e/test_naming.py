"""A model that is given as a folder is called as its user calls it."""

from sightline.commands.naming import name_of


def test_a_run_s_model_is_called_as_the_run(tmp_path, monkeypatch):
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    for given, name in (("mine/model", "mine"), ("mine", "mine"), ("link", "link"), ("link/model", "link")):
        assert name_of(str(tmp_path / given)) == name
    monkeypatch.chdir(tmp_path / "mine" / "model")
    assert name_of(".") == "mine"
    assert name_of("sightline-tiny") == "sightline-tiny"
    assert name_of("organisation/model") == "organisation/model"
