import dynarium.reporting.gallery as gallery
from dynarium.registry import Registry
from dynarium.reporting.gallery import main


def test_a_page_with_a_picture_of_every_world(tmp_path, monkeypatch, capsys):
    few = Registry("world", {"gravity-3": "dynarium.systems.sets:gravity_3", "pong": "dynarium.systems.pong:Pong"})
    monkeypatch.setattr(gallery, "WORLDS", few)
    monkeypatch.setattr(gallery, "families", lambda: {"Sets": ["gravity-3"], "Games": ["pong", "pong-original"]})
    (tmp_path / "images" / "worlds").mkdir(parents=True)
    (tmp_path / "images" / "worlds" / "gone.gif").touch()
    assert main([str(tmp_path)]) == 0
    page = (tmp_path / "worlds.md").read_text()
    assert page.index("## Sets\n\n### gravity-3\n\nBalls under 3 directions of gravity.") < page.index(
        "## Games\n\n### pong"
    )
    assert "9,000 / 3,000 / 3,000 sequences; `video` [30, 1, 32, 32]" in page
    assert sorted(file.name for file in (tmp_path / "images" / "worlds").iterdir()) == ["gravity-3.gif", "pong.gif"]
    assert main([]) == 2
    assert "usage" in capsys.readouterr().err
