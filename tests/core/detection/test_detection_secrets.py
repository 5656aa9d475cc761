"""Secrets in the places where they stand, and what only looks like them."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safellm._core.detection.randomness import changes, is_random, wordlikeness
from safellm._core.detection.rules import load_rules
from safellm._core.detection.samples import is_sample
from safellm._core.detection.scanner import compile_scanner
from safellm._core.detection.tokens import cue

RULES = {rule.id: rule for rule in load_rules()}
SECRETS = [rule for rule in RULES.values() if rule.type == "SECRET"]
LETTERS = string.ascii_letters + string.digits


def drawn(size: int, letters: str = LETTERS, *, seed: int = 4) -> str:
    """Return characters drawn with a fixed seed: random to the rules, the same on each run."""
    return "".join(random.Random(seed * 1000 + size).choices(letters, k=size))


def hidden(text: str) -> list[str]:
    return [text[one.start : one.end] for one in compile_scanner().scan(text) if one.type == "SECRET"]


TOKEN, HEX, PASS = drawn(32), drawn(32, "0123456789abcdef"), "Blu3!" + "Heron42"
KEY = "PRIVATE" + " KEY"
BODY = "\n".join(drawn(64, LETTERS + "+/", seed=line) for line in range(6))


@pytest.mark.parametrize(
    "text",
    [
        "//registry.example/:_authToken={TOKEN}",
        "[pypi]\nusername = bob\npassword = {PASS}",
        "users:\n  user:\n    token: {TOKEN}",
        "Cookie: theme=dark; sessionid={TOKEN}",
        "Cookie: JSESSIONID={HEX}",
        "DriverX;Uid=sa;Pwd={PASS};",
        "jdbc:postgresql://h/db?user=bob&password={PASS}",
        "redis://:{TOKEN}@h:6379/0",
        "PGPASSWORD={PASS} psql -h x",
        "export DB_PASS={PASS}",
        "the password is {PASS}.",
        "My password: {PASS}",
        "Username bob, password {PASS}",
        "the password for the staging database is {PASS}, please keep it.",
        "Das Passwort lautet {PASS}.",
        "Le mot de passe est {PASS}",
        "la contraseña es {PASS}",
        "密码是{PASS}",
        "пароль: {PASS}",
        "use {TOKEN} as the api key",
        "our api key is {HEX} ok?",
        "`{HEX}` is our api key",
        "the token ({TOKEN}) expired",
        "api key: {TOKEN}.",
        "curl -u bob:{PASS} https://x.test/z",
        "sshpass -p '{PASS}' ssh bob@h",
        "mysql -u root -p{PASS} db",
        "openssl rsa -passin pass:{PASS}",
        "tool --password {PASS} --host h",
        "CREATE USER 'x'@'%' IDENTIFIED BY '{PASS}';",
        "ALTER ROLE x WITH PASSWORD '{PASS}';",
        "<password>{PASS}</password>",
        "spring.datasource.password={PASS}",
        'client = Client(api_key="{TOKEN}")',
        "os.environ['API_KEY'] = '{TOKEN}'",
        '{{"accessToken": "{TOKEN}"}}',
        "acme token - '{HEX}'",
        "shodan {TOKEN}",
        "WIFI:T:WPA;S:net;P:{PASS};;",
        "machine h\nlogin bob\npassword {PASS}",
        "headers = {{'Authorization': f'Bearer {TOKEN}'}}",
        "postgres://app:{TOKEN}@db.test/app",
        "Server=h;Uid=x;Password={PASS};Encrypt=yes",
        "value {TOKEN} of no name",
        "has\u0142o: {PASS}",
        "l\u00f6senord: {PASS}",
        "\u015fifre: {PASS}",
        "adgangskode: {PASS}",
        "jdbc:oracle:thin:app/{PASS}@//db.test:1521/ORCL",
        "Here is my token:\n\n```\n{HEX}\n```",
        "API key:\n```text\n{TOKEN}\n```\nWhat is wrong with it?",
        "curl https://api.test/v1/x -u {TOKEN}:",
        "        - name: DB_PASSWORD\n          value: '{PASS}'",
        "        - name: API_TOKEN\n          value: {HEX}",
        '{{"name": "apiKey", "value": "{TOKEN}"}}',
        'variable "db_password" {{\n  type      = string\n  sensitive = true\n  default   = "{PASS}"\n}}',
        "pw: {PASS}",
        "docker login registry.test -u bob -p {PASS}",
        "echo {PASS} | docker login -u bob --password-stdin",
        "ConvertTo-SecureString '{PASS}' -AsPlainText -Force",
        "net use z: \\\\srv\\share /user:bob {PASS}",
        "login: bob / {PASS}",
        "the creds are admin:{PASS}",
        "API_KEY={LETTERS}",
        '"api_key": "{LETTERS}"',
    ],
)
def test_secret_is_hidden_whole_in_its_place(text: str) -> None:
    """The whole value, and nothing of the text around it but quotes or the like, is found."""
    values = {"TOKEN": TOKEN, "HEX": HEX, "PASS": PASS, "LETTERS": drawn(32, string.ascii_letters)}
    (value,) = (value for name, value in values.items() if "{" + name + "}" in text)
    written = text.format(**values)
    assert [found for found in hidden(written) if value in found and len(found) <= len(value) + 2], hidden(written)


JWT = ".".join(("eyJ" + drawn(33), "eyJ" + drawn(90, seed=5), drawn(43, LETTERS + "-_", seed=6) + "a1b2"))


@given(
    st.integers(50, 120), st.sampled_from(["{}", "token:\n{}\n", "> {}", "  | {}", '"{}"']), st.sampled_from(["", "\r"])
)
def test_token_is_hidden_whole_when_it_is_cut_into_lines(width: int, around: str, end: str) -> None:
    """As mails, terminals and code cut them: no part of it is left, but for the few last letters; and what follows is."""
    lines = [JWT[at : at + width] for at in range(0, len(JWT), width)]
    first, _, last = around.partition("{}")
    joint = '" +' + end + '\n    "' if first == '"' else f"{end}\n{first.rpartition(chr(10))[2]}"
    text = f"{first}{joint.join(lines)}{last}{end}\nThanks and regards"
    left = text
    for found in hidden(text):
        left = left.replace(found, "")
    assert all(line not in left for line in lines if len(line) >= 8), left
    assert "Thanks and regards" in left


@pytest.mark.parametrize("before", ["", "user_", "my", "the key is:"])
@pytest.mark.parametrize("prefix", ["gsk_", "csk-", "xai-", "nvapi-", "pplx-"])
def test_key_is_hidden_when_it_is_glued_behind_a_word(before: str, prefix: str) -> None:
    """A prefix that only keys have says enough, wherever it stands."""
    key = prefix + drawn(64)
    assert [found for found in hidden(f"{before}{key} and more") if key in found]


@pytest.mark.parametrize("word", ["hunter2", "sommer24", "correcthorse7"])
@pytest.mark.parametrize("text", ["password: {}", "my password is {}.", "DB_PASSWORD={}", "pw={}"])
def test_weak_password_is_hidden(word: str, text: str) -> None:
    """A word with a number behind it is what many people choose."""
    assert hidden(text.format(word)) == [word]


def test_secret_key_is_hidden_beside_its_id() -> None:
    """Copied from a console, or downloaded as a table: no word says what the second one is."""
    key_id, key = "AKIA" + drawn(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"), drawn(40, LETTERS + "+/")
    for between in (",", " / ", "\n", "\r\n", '", "', ": "):
        assert key in hidden(f'"{key_id}{between}{key}"')


@pytest.mark.parametrize("kind", ["RSA ", "EC ", "OPENSSH ", "", "ENCRYPTED ", "DSA ", "PGP {} BLOCK"])
@pytest.mark.parametrize("escaped", [False, True])
def test_private_key_is_hidden_whole(kind: str, escaped: bool) -> None:
    """Blocks of every kind, also with line ends as JSON writes them."""
    name = kind.format(KEY) if "{}" in kind else kind + KEY
    block = f"-----BEGIN {name}-----\n{BODY}\n-----END {name}-----"
    block = block.replace("\n", "\\n") if escaped else block
    assert hidden(f'{{"k": "{block}"}}') == [block]


def test_private_key_is_hidden_whole_when_it_has_four_dashes() -> None:
    """The form of RFC 4716."""
    block = f"---- BEGIN SSH2 ENCRYPTED {KEY} ----\n{BODY}\n---- END SSH2 ENCRYPTED {KEY} ----"
    assert hidden(f"see\n{block}\n") == [block]


@pytest.mark.parametrize(
    ("query", "rule"),
    [
        ("sp=rwdl&se=2031-01-01&sig={}", "azure-sas-write"),
        ("sig={}&sp=racw&sr=c", "azure-sas-write"),
        ("sp=rl&se=2031-01-01&sig={}", "azure-sas-read"),
        ("sv=2022-11-02&sig={}", "azure-sas-read"),
    ],
)
def test_shared_access_signature_is_graded_by_its_rights(query: str, rule: str) -> None:
    """What may write is critical, what may read is not; the signature is hidden in both cases."""
    signature = drawn(43, LETTERS) + "%3D"
    text = "https://x.blob.core.example/c/f?" + query.format(signature)
    (found,) = compile_scanner().scan(text)
    assert (found.rule, text[found.start : found.end]) == (rule, signature)
    assert {RULES["azure-sas-write"].severity, RULES["azure-sas-read"].severity} == {"critical", "medium"}


@pytest.mark.parametrize(
    "text",
    [
        "commit " + drawn(40, "0123456789abcdef"),
        "sha256:" + drawn(64, "0123456789abcdef"),
        "id: 123e4567-e89b-12d3-a456-426614174000",
        'integrity="sha384-' + drawn(64, LETTERS + "+/") + '"',
        "github.com/x/y v1.2.3 h1:" + drawn(43, LETTERS + "+/") + "=",
        "x v0.0.0-20190503192946-" + drawn(12, "0123456789abcdef") + "/go.mod",
        'etag: "' + drawn(32, "0123456789abcdef") + '"',
        "https://example.test/embed/do1viOk8nok?si=" + drawn(16),
        "manylinux2014_aarch64.musllinux_1_2_x86_64",
        "text-embedding-ada-002",
        "[org/model-7b-chat-v2](https://huggingface.co/org/model-7b-chat-v2)",
        "claude-3-5-sonnet-20241022-v2",
        "cmpl-" + drawn(24),
        "api_key: YOUR_KEY_HERE",
        'api_key = "<your-api-key-here>"',
        "token: ${TOKEN_VALUE_2}",
        "password = os.environ['DB_PASSWORD']",
        "password: changeme",
        'secret = "xxxxxxxxxxxxxxxxxxxxxxxx"',
        'key: "AKIA' + 'IOSFODNN7EXAMPLE"',
        "export KEY=sk-...",
        "foreignKey=" + TOKEN,
        'credentialId: "' + TOKEN + '"',
        "secret_length = X25519.secret_length",
        "csrf-token=" + TOKEN,
        "publicKey: " + TOKEN,
        "the password is required for 2 systems",
        "password manager and SHA-256",
        "base64 " + base64.b64encode(b"plain text, nothing to hide").decode(),
        "-----BEGIN CERTIFICATE-----\n" + BODY + "\n-----END CERTIFICATE-----",
        "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQ bob@h",
        "The secret of good bread is time. The key ingredient is salt.",
        "max_tokens=4096 temperature=0.7 tokenizer=cl100k_base",
        "10 4-10 10v15h-9V17h9v9c0-5 6-9 15l8-9 10zm83-29v46h-9V5h9z",
        "user_id = 'V1StGXR8_Z5jdHi6B'",
        "traceparent: 00-" + HEX + "-01",
        # Lines of certificates, of keys that are public, and of signatures, where a slash or the end cuts them short.
        "-----BEGIN CERTIFICATE-----\n" + BODY + "\n" + drawn(29) + "a1B2==\n-----END CERTIFICATE-----",
        BODY + "\n" + drawn(20) + "a1/" + drawn(30) + "a1\n" + BODY,
        "<SignatureValue>" + drawn(64) + "\n" + BODY + "\n" + drawn(20) + "a1=</SignatureValue>",
        "<ds:SignatureValue>" + drawn(86) + "a1</ds:SignatureValue>",
        "ssh-ed25519 AAAAC3" + "NzaC1lZDI1NTE5AAAAI" + drawn(41) + "a1 bob@h",
        "gpg --recv-keys " + drawn(40, "0123456789ABCDEF"),
        "x/y.py,sha256=YC" + drawn(38) + "a1b,705",
        "x/y.py,sha256=qaN-fw_" + drawn(34) + "a1,160",
        '"kid": "' + drawn(18) + "a1" + '"',
        'primary_key = "' + "88511c31-64c9-4f14-b4df-fe8916907627" + '"',
        'W/"5a537-' + drawn(25) + 'a1"',
        'sitekey="6L' + drawn(36) + 'a1"',
        "badge.svg?token=" + drawn(10) + "a1",
        "Includes https://github.com/x/bytecode " + drawn(40, "0123456789abcdef"),
        "please fix kXxh3Secrets",
        "secret:MyTestDatabaseSecret-a1b2c3",
        "mergeTokens:!1!==t.mergeTokens",
        "hesap:parola:UID:GID:GECOS:dizin:kabuk",
        "Связка ключей GNOME: компонент PKCS#11",
        "The digests are:\n\n```\n" + HEX + "\n```",
        "token:\n\nas text\n```\n" + HEX + "\n```",
        "curl -u administrator_of_site: https://x.test",
        "- name: DB_PASSWORD\n  valueFrom:\n    secretKeyRef: {name: db-secrets-2, key: password}",
        'variable "token_ttl" { default = "3600s" }',
        "resp_" + drawn(48, "0123456789abcdef"),
        "chatcmpl-" + drawn(29),
        "password = field2",
        "password: utf8",
        "password = bcrypt12(x)",
        "login: function(user, pass) { return auth(user, pass); }",
        "echo $PASSWORD | docker login --password-stdin",
        "the password is this must have some digits",
        "CVC 2024 and cvv123",
    ],
)
def test_look_alike_is_left_alone(text: str) -> None:
    """Digests, ids, versions, samples, variables and encoded text are no secrets."""
    assert hidden(text) == []


@given(st.integers(0, 10_000_000))
def test_random_key_is_never_a_sample(seed: int) -> None:
    """A key that was drawn at random is a key, whatever words stand in it by chance."""
    key = "".join(random.Random(seed).choices(LETTERS, k=40))
    assert not is_sample(key)


@pytest.mark.parametrize("word", ["dummy", "xxxx", "sample", "Here-here", "fixme", "DUMMY"])
def test_key_is_no_sample_when_it_holds_a_word_by_chance(word: str) -> None:
    """A word that people write into samples doesn't hide 30 random characters around it."""
    head, tail = drawn(15), drawn(16)
    assert not is_sample(head + word + tail)
    assert hidden("sk-" + "proj-" + head + word + tail)


@pytest.mark.parametrize(
    "value",
    [
        "xxxxxxxxxxxx",
        "your_api_key",
        "YOUR-KEY-HERE",
        "AKIA" + "IOSFODNN7EXAMPLE",
        "abcdefghijklmnop",
        "1234567890abcdef",
        "<token>",
        "changeme",
        "sk-dummy-key-for-tests",
        "aaaaaaaabbbb",
        "${SECRET}",
        "password",
        "placeholder-token-1",
        "{{ token }}",
    ],
)
def test_sample_is_known(value: str) -> None:
    """What stands for a secret is none."""
    assert is_sample(value)


@given(st.text(st.characters(codec="utf-8") | st.characters(categories=["Cs"]), max_size=80))
def test_measures_never_fail(text: str) -> None:
    """Randomness, samples and cues take any text."""
    assert is_random(text) in {True, False}
    assert is_sample(text) in {True, False}
    assert 0 <= changes(text) <= 1
    assert wordlikeness(text) is None or 0 <= (wordlikeness(text) or 0) <= 9
    assert cue(text, len(text)) in {-1, 0, 1, 2}


@pytest.mark.parametrize(
    ("before", "verdict"),
    [
        ("api_key = '", 2),
        ("accessToken: ", 2),
        ("shodan ", 1),
        ("commit ", -1),
        ("sha256 of the token: etag ", -1),
        ("acme ", 0),
        ("publicKey ", -1),
        ("user_id = ", -1),
        ("token commit ", -1),
        ("commit token ", 2),
        ("密码 token\n  '", 2),
        ("credential_id: ", -1),
    ],
)
def test_nearest_word_decides(before: str, verdict: int) -> None:
    """Of the words before a token the nearest telling one says what it is."""
    assert cue(before, len(before)) == verdict


def test_words_read_as_words_and_keys_as_random() -> None:
    """The pair table tells English and identifiers from drawn letters."""
    for word in ("authentication", "requestProcessor", "internationalisation", "manylinux", "customer_address_line"):
        assert (wordlikeness(word) or 0) > 5.5, word
    assert sum((wordlikeness(drawn(24, string.ascii_lowercase, seed=seed)) or 0) < 5.5 for seed in range(200)) > 170
    assert sum(is_random(drawn(32, seed=seed)) for seed in range(200)) > 190


@pytest.mark.parametrize("rule", SECRETS, ids=lambda rule: rule.id)
def test_rule_for_secrets_says_how_bad_a_leak_is(rule: object) -> None:
    """Each has a known severity; a page to revoke at is a secure address."""
    assert rule.severity in {"low", "medium", "high", "critical"}  # type: ignore[attr-defined]
    assert rule.revoke == "" or rule.revoke.startswith("https://")  # type: ignore[attr-defined]
