"""API keys as people write them."""

from pathlib import Path

import pytest

from app.settings.api_keys import all_keys, first_key, parse_keys, read_list


def test_keys_have_names_or_are_called_by_their_place() -> None:
    assert parse_keys(["web:sesame", "open", "a.b-c_1:x:y"]) == {"web": "sesame", "key2": "open", "a.b-c_1": "x:y"}


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        (["we b:hush"], "entry 1: its name is not one; use letters, digits, dots, hyphens: name:key"),
        ([":hush"], "entry 1: its name is not one"),
        (["ok", "web:"], "entry 2: its key is empty or has characters that no header may"),
        (["web:hush hush"], "entry 1: its key is empty or has characters"),
        (["web:hushé"], "entry 1: its key is empty or has characters"),
        (["web:one", "web:hush"], "entry 2: the name 'web' is there already; give each key its own"),
        (["web:hush", "app:hush"], "entry 2: its key is there already, under another name; keep one"),
        (["hush", "key1:hush2"], "entry 2: the name 'key1' is there already"),
    ],
)
def test_what_is_no_key_is_told_without_it(entries: list[str], problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        parse_keys(entries)
    assert "hush" not in str(caught.value)


def test_a_file_has_a_key_a_line_beside_those_of_the_configuration() -> None:
    assert all_keys(["web:sesame"], "# of the apps\n\n app:open \nother\n") == {
        "web": "sesame",
        "app": "open",
        "key3": "other",
    }
    with pytest.raises(ValueError, match="line 2: the name 'web' is there already"):
        all_keys(["web:sesame"], "# none\nweb:open")


def test_a_list_may_come_as_one_line() -> None:
    assert read_list("a, b ,,c") == ["a", "b", "c"]
    assert read_list(' ["a,b"]') == ["a,b"]
    assert read_list("") == []
    assert read_list(["a"]) == ["a"]


@pytest.mark.parametrize("text", ["[hush", '[1, "hush"]', '["hush"'])
def test_what_is_no_list_is_told_without_its_text(text: str) -> None:
    with pytest.raises(ValueError, match=r'write a,b or \["a", "b"\]') as caught:
        read_list(text)
    assert "hush" not in str(caught.value)


def test_a_byte_order_mark_is_no_part_of_a_name() -> None:
    assert all_keys([], "\ufeffweb:open\r\napp:sesame\r\n") == {"web": "open", "app": "sesame"}


def test_a_quota_for_a_key_in_place_of_its_name_is_told_without_the_key() -> None:
    assert all_keys([], "web:hush", ["web", "app"]) == {"web": "hush"}
    with pytest.raises(ValueError, match="a key itself stands where its name is wanted") as caught:
        all_keys([], "web:hush", ["hush"])
    assert "hush" not in str(caught.value)


def test_the_first_key_is_that_of_the_configuration_or_else_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# of the apps\napp:open\n")
    assert first_key(["web:sesame", "b"], file) == "sesame"
    assert first_key([], file) == "open"
    assert first_key([], None) is None
