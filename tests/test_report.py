"""Reports as people see them: in a browser, in light and dark, narrow and wide; and what they give away to whom.

The browser is Debian's Chromium, driven by Playwright. Screenshots are left in DAMSON_SCRATCH/reports.
"""

import os
import shutil
import time
import xml.etree.ElementTree as ET

import html5lib
import psycopg
import pytest
from conftest import one
from sklearn import datasets

DENIED = psycopg.errors.InsufficientPrivilege
# What a page may be made of; above all no script, img, iframe, object, form.
ELEMENTS = set(
    "html head meta title style body header div p h1 h2 h3 bdi span nav a main section table tbody tr th td b br code pre"
    " small details summary figure footer".split()
)
SHAPES = set("svg title style rect line polyline polygon circle text".split())
HOSTILE = [
    "</title></style></script><script>alert(1)</script>",
    "\"><img src=x onerror=alert(2)>",
    "' onmouseover='alert(3)",
    "]]> <!-- &lt;b&gt; ${alert(4)}",
    "a\x01b\u202ec\ufffe",
    "javascript:alert(5)",
    "fill=\"#7A4B93\"",
]


@pytest.fixture(scope="session")
def browser():
    """Chromium; tests are skipped only where there is none, which is so on no machine that scripts/setup.sh set up."""
    program = os.environ.get("DAMSON_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not program:
        pytest.skip("there is no Chromium: scripts/setup.sh installs it")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program)
        yield started
        started.close()


class Pages:
    """Looks at pages."""

    def __init__(self, browser, folder):
        self.browser = browser
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def look(self, name, text, checks=lambda page: None):
        """Opens a page in light and dark, wide and narrow; fails where it is not quiet, or wider than the window."""
        assert len(text.encode()) < 2_000_000, f"{name} has {len(text.encode())} bytes"
        check_html(text)
        file = self.folder / f"{name}.html"
        file.write_text(text)
        inks = {}
        for scheme in ["light", "dark"]:
            context = self.browser.new_context(color_scheme=scheme, viewport={"width": 1280, "height": 900})
            page = context.new_page()
            heard = []
            page.on("console", lambda message: heard.append(f"console: {message.text}"))
            page.on("pageerror", lambda error: heard.append(f"error: {error}"))
            page.on("dialog", lambda dialog: (heard.append(f"dialog: {dialog.message}"), dialog.dismiss()))
            page.on("request", lambda request: heard.append(f"request: {request.url}") if request.url != file.as_uri() else None)
            page.goto(file.as_uri())
            page.screenshot(path=self.folder / f"{name}.{scheme}.png", full_page=True)
            inks[scheme] = page.evaluate(INKS)
            checks(page)
            for width in [1280, 800, 390]:
                page.set_viewport_size({"width": width, "height": 900})
                wide = page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, f"{name} is {wide} pixels wide in a window of {width}"
            if scheme == "light":
                page.screenshot(path=self.folder / f"{name}.narrow.png", full_page=True)
            assert heard == [], f"{name} in {scheme}"
            context.close()
        for part in inks["light"]:
            assert inks["light"][part] != inks["dark"][part], f"{part} of {name} is the same in light and dark"
        for scheme in inks:
            for part in ["text", "drawn"]:
                if inks[scheme].get(part):
                    found = contrast(inks[scheme][part], inks[scheme]["card"])
                    assert found >= 4.5, f"{part} of {name} in {scheme} has a contrast of {found:.1f}"


# Colours of the text, of the first text in a drawing, and of what is behind both.
INKS = """() => {
    const of = (element, what) => element ? getComputedStyle(element)[what] : null;
    const found = {text: of(document.querySelector('td, .muted'), 'color'), card: of(document.querySelector('.tile'), 'backgroundColor'),
        page: of(document.body, 'backgroundColor')};
    const drawn = document.querySelector('svg text');
    if (drawn) found.drawn = of(drawn, 'fill');
    const bar = document.querySelector('svg rect[fill="#7A4B93"], svg polyline[stroke="#7A4B93"]');
    if (bar) found.bar = of(bar, 'fill') + of(bar, 'stroke');
    return found;
}"""


def contrast(one, other):
    """The contrast ratio of two colours, as WCAG has it."""

    def light(colour):
        parts = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    a, b = sorted([light(one), light(other)], reverse=True)
    return (a + 0.05) / (b + 0.05)


def check_html(text):
    """Fails unless the text is HTML without a parse error, of the elements that we use, without handlers and ids twice."""
    tree = html5lib.HTMLParser(tree=html5lib.getTreeBuilder("etree"), strict=True, namespaceHTMLElements=False).parse(text)
    ids = []
    for element in tree.iter():
        name = element.tag
        if not isinstance(name, str):
            raise AssertionError(f"a comment: {element.text}")
        drawn = name.startswith("{http://www.w3.org/2000/svg}")
        assert (name.rpartition("}")[2] in SHAPES) if drawn else name in ELEMENTS, f"element {name}"
        for attribute, value in element.attrib.items():
            assert not attribute.lower().startswith("on"), f"{name} has {attribute}"
            assert attribute not in ("src", "srcset", "action"), f"{name} has {attribute}"
            assert attribute != "href" or value.startswith("#"), f"{name} points to {value}"
            if attribute == "id":
                ids.append(value)
    assert len(ids) == len(set(ids)), "an id is there twice"


def check_svg(text):
    """Fails unless the text is well-formed, and an SVG of shapes alone."""
    for element in ET.fromstring(text).iter():
        assert element.tag.removeprefix("{http://www.w3.org/2000/svg}") in SHAPES, element.tag
        assert not any(a.lower().startswith("on") or "href" in a for a in element.attrib)


@pytest.fixture
def pages(browser, server):
    return Pages(browser, server.scratch / "reports")


def load(db, table, made, label="y", names=None):
    """A table of one of scikit-learn's data sets."""
    names = [f'"{n}"' for n in (names or made.feature_names)]
    kind = "text" if made.target.dtype == object else "float8"
    columns = ", ".join(f"{n} float8" for n in names)
    db.execute(f"CREATE TABLE {table} ({columns}, {label} {kind})")
    with db.cursor().copy(f"COPY {table} FROM STDIN") as copy:
        for x, y in zip(made.data, made.target):
            copy.write_row([*map(float, x), y if kind == "text" else float(y)])


def labelled(made):
    made.target = made.target_names.astype(object)[made.target]
    return made


def test_the_checks_are_real():
    page = "<!DOCTYPE html><html lang=en><head><title>t</title></head><body>{}</body></html>"
    check_html(page.format("<p>fine</p>"))
    for wrong in ["<p>a</b></p>", "<script>1</script>", "<img alt=''>", "<p onclick='1'>a</p>", "<a href='javascript:1'>a</a>", "<p>\x01</p>", "<p id=a></p><p id=a></p>"]:
        with pytest.raises((AssertionError, html5lib.html5parser.ParseError)):
            check_html(page.format(wrong))
    for wrong in ["<svg><script/></svg>", "<svg><text></svg>", "<svg onload='1'/>"]:
        with pytest.raises((AssertionError, ET.ParseError)):
            check_svg(wrong)
    assert contrast("rgb(0, 0, 0)", "rgb(255, 255, 255)") == pytest.approx(21)


def test_reports_are_valid_quiet_light_and_dark(db, pages, measured):
    load(db, "tumours", labelled(datasets.load_breast_cancer()))
    load(db, "patients", datasets.load_diabetes())
    load(db, "digits", labelled(datasets.load_digits()))
    db.execute("SELECT damson.train('tumour', 'tumours', 'y', params => '{\"trees\": 60}', split => 'stratified', description => 'Is it malignant?')")
    db.execute("SELECT damson.train('progress', 'patients', 'y', 'ridge')")
    db.execute("SELECT damson.train('digit', 'digits', 'y', params => '{\"trees\": 10}', folds => 3)")
    db.execute("SELECT damson.train('shapes', 'SELECT * FROM digits', algorithm => 'kmeans', features => (SELECT array_agg(attname) FROM pg_attribute WHERE attrelid = 'digits'::regclass AND attname LIKE 'pixel%'))")
    db.execute("SELECT damson.train('odd', 'patients', algorithm => 'isolation_forest')")
    db.execute("SELECT damson.score_into('scores', 'tumour', 'tumours')")
    for model, source in [("tumour", None), ("tumour", "SELECT * FROM tumours"), ("progress", None), ("digit", None), ("shapes", "digits"), ("odd", None)]:
        start = time.monotonic()
        text = one(db, "SELECT damson.report(%s, %s)", model, source)
        seconds = time.monotonic() - start
        name = f"{model}.{'source' if source else 'own'}"
        measured(f"report {name}: {len(text.encode()) / 1024:.0f} kB in {seconds:.2f} s")
        pages.look(name, text)
    drifted = "SELECT * FROM tumours WHERE \"mean radius\" > 13"
    pages.look("tumour.drift", one(db, "SELECT damson.drift_report('tumour', %s)", drifted))
    pages.look("between.drift", one(db, "SELECT damson.drift_report_between('tumours', %s)", drifted))
    for plot in ["roc", "pr", "calibration", "gain", "lift", "probabilities", "confusion", "importance", "learning_curve", "lineage"]:
        check_svg(one(db, "SELECT damson.plot('tumour', %s)", plot))
    for plot in ["predictions", "residuals", "errors"]:
        check_svg(one(db, "SELECT damson.plot('progress', %s)", plot))


def test_many_columns_with_long_names_fit(db, pages, measured):
    names = [f"the_number_{i:03d}_of_what_was_measured_in_the_whole_of_the_year" for i in range(300)]
    columns = ", ".join(f"(i * {7 + i} % 97 + random())::float8 AS {n}" for i, n in enumerate(names))
    db.execute("SELECT setseed(0.5)")
    db.execute(f"CREATE TABLE wide AS SELECT {columns}, CASE WHEN i % 3 = 0 THEN repeat('long label ', 20) ELSE 'b' END AS y FROM generate_series(1, 600) i")
    name = "a model with a name of some length, and longer, " * 2 + "and so on"
    db.execute("SELECT damson.train(%s, 'wide', 'y', params => '{\"trees\": 10}')", [name])
    start = time.monotonic()
    text = one(db, "SELECT damson.report(%s)", name)
    measured(f"report of 300 columns: {len(text.encode()) / 1024:.0f} kB in {time.monotonic() - start:.2f} s")
    pages.look("wide", text)
    pages.look("wide.drift", one(db, "SELECT damson.drift_report(%s, 'wide')", name))


def test_no_text_of_others_is_more_than_text(db, pages):
    columns = [h[:60] for h in HOSTILE]
    quoted = ['"' + c.replace('"', '""') + '"' for c in columns]
    labels = "(ARRAY[" + ", ".join("%s" for _ in HOSTILE) + "])"
    numbers = ", ".join(f"(i * {3 + k} %% 11)::float8 AS {q}" for k, q in enumerate(quoted[:4]))
    texts = ", ".join(f"{labels}[1 + (i * {k + 1}) %% {len(HOSTILE)}] AS {q}" for k, q in enumerate(quoted[4:]))
    target = '"</svg><script>alert(6)</script>"'
    sql = f"CREATE TABLE \"<b>table</b>\" AS SELECT {numbers}, {texts}, {labels}[1 + i %% {len(HOSTILE)}] AS {target} FROM generate_series(1, 300) i"
    cursor = psycopg.ClientCursor(db)
    cursor.execute(sql, HOSTILE * 4)
    model = "<i>model</i>\"&'\u202e</title><script>alert(7)</script>"
    source = 'SELECT *, 1 AS "<u>" FROM "<b>table</b>" -- </pre><script>alert(8)</script>'
    db.execute(
        "SELECT damson.train(%s, %s, %s, params => '{\"trees\": 20}', description => %s)",
        [model, source, target.strip('"'), "</p><script>alert(9)</script>"],
    )
    db.execute("SELECT damson.score_into('\"<i>scores</i>\"', %s, %s)", [model, source])

    def check(page):
        shown = page.inner_text("h1")
        assert "<i>model</i>\"&'" in shown and "<script>alert(7)</script>" in shown
        assert "</p><script>alert(9)</script>" in page.inner_text(".lead")
        assert page.evaluate("document.querySelectorAll('script, img, iframe, object, embed, link, form, input').length") == 0

    text = one(db, "SELECT damson.report(%s)", model)
    pages.look("hostile", text, check)
    pages.look("hostile.source", one(db, "SELECT damson.report(%s, %s)", model, source), check)
    for name in HOSTILE[:4]:
        assert name not in text or "<" not in name
    pages.look("hostile.drift", one(db, "SELECT damson.drift_report(%s, %s)", model, source))
    pages.look("hostile.between", one(db, "SELECT damson.drift_report_between(%s, %s)", source, source))
    for plot in ["roc", "confusion", "importance", "lineage", "calibration", "learning_curve"]:
        check_svg(one(db, "SELECT damson.plot(%s, %s)", model, plot))
    for column in columns:
        check_svg(one(db, "SELECT damson.plot(%s, 'distribution', column_name => %s)", model, column))


def test_a_page_that_would_run_something_cannot(pages, browser):
    """The policy of a page holds even if a script got in."""
    page = browser.new_page()
    seen = []
    page.on("dialog", lambda dialog: (seen.append(dialog.message), dialog.dismiss()))
    page.on("console", lambda message: seen.append(message.text))
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    file = pages.folder / "policy.html"
    file.write_text(f"<!DOCTYPE html><html><head><meta http-equiv='Content-Security-Policy' content=\"{policy}\"></head><body><script>alert(1)</script></body></html>")
    page.goto(file.as_uri())
    assert len(seen) == 1 and "Content Security Policy" in seen[0]
    page.close()


def test_another_role_sees_no_report_and_with_the_model_no_values(db, connect, role):
    bob = role("report_bob")
    his = connect(user=bob)
    db.execute("CREATE TABLE secret AS SELECT 1000 + i::float8 AS x, 'label ' || i % 3 AS c, (7 * (i % 5) + 5000 + i)::float8 AS y FROM generate_series(1, 300) i")
    db.execute("SELECT damson.train('private', 'secret', 'y', 'linear')")
    db.execute("SELECT damson.train('m', 'SELECT x, c, y FROM secret WHERE x <> 4711', 'y', params => '{\"trees\": 5}')")
    db.execute("CREATE TABLE his AS SELECT * FROM secret")
    db.execute(f"GRANT SELECT ON his TO {bob}")
    calls = [
        "SELECT damson.report('m')",
        "SELECT damson.report('m@1', 'his')",
        "SELECT damson.plot('m', 'errors')",
        "SELECT damson.plot('m', 'importance')",
        "SELECT damson.plot('m', 'lineage')",
        "SELECT damson.plot('m', 'learning_curve')",
        "SELECT damson.plot('m', 'errors', 'his')",
        "SELECT damson.drift_report('m', 'his')",
    ]
    own = ["SELECT damson.plot('m', 'residuals')", "SELECT damson.plot('m', 'distribution', column_name => 'c')", "SELECT damson.plot('m', 'distribution', 'his', column_name => 'c')"]
    for sql in calls + own:
        with pytest.raises(DENIED, match='model "m"'):
            his.execute(sql)
        db.execute(sql)
    with pytest.raises(DENIED):
        his.execute("SELECT * FROM damson_catalog.figures")
    # Her page has the source, the labels of the rows, and single errors; so has his none of them.
    hers = one(db, "SELECT damson.report('m')")
    assert "4711" in hers and "label 1" in hers and "Errors by prediction" in hers and "secret" in hers
    db.execute(f"CALL damson.grant_model('m', '{bob}')")
    for sql in calls:
        his.execute(sql)
    for sql in own[:1]:
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="its owner's"):
            his.execute(sql)
    for sql in own[1:]:
        with pytest.raises(DENIED, match='rows of model "m"'):
            his.execute(sql)
    page = one(his, "SELECT damson.report('m')")
    for hidden in ["4711", "label 1", "Errors by prediction", "training looked like"]:
        assert hidden not in page, hidden
    drift = one(his, "SELECT damson.drift_report('m', 'his')")
    assert "are its owner" in drift and "label 1" not in drift
    # What he may read himself he may see drawn.
    assert "label 1" in one(his, "SELECT damson.drift_report_between('his', 'his')")
    with pytest.raises(DENIED, match="table secret"):
        his.execute("SELECT damson.report('m', 'secret')")
    with pytest.raises(DENIED, match="table secret"):
        his.execute("SELECT damson.drift_report_between('his', 'secret')")
    with pytest.raises(DENIED, match='model "private"'):
        his.execute("SELECT damson.report('private')")
    # A private model that filled what his was trained on is not in its graph.
    db.execute("SELECT damson.score_into('filled', 'private', 'secret')")
    db.execute("SELECT damson.train('n', 'SELECT prediction AS p, y FROM filled', 'y', 'linear')")
    db.execute(f"CALL damson.grant_model('n', '{bob}')")
    assert "private@1" in one(db, "SELECT damson.report('n')")
    page = one(his, "SELECT damson.report('n')")
    assert "public.filled" in page and "private@1" not in page and "secret" not in page


def test_what_monitors_measured_is_on_the_page_of_those_who_may_see_it(db, connect, role, pages):
    bob = role("report_watcher")
    his = connect(user=bob)
    db.execute("CREATE TABLE mine AS SELECT i::float8 AS x, i * 2.0::float8 AS y FROM generate_series(1, 200) i")
    db.execute("SELECT damson.train('m', 'mine', 'y', 'linear')")
    db.execute(f"CALL damson.grant_model('m', '{bob}')")
    db.execute(
        """INSERT INTO damson_drift.measurements (monitor, model, version, role, candidate, row_count, state, drift_share, culprits,
            seconds, measured)
        SELECT (ARRAY['nightly', '<b>weekly</b>'])[1 + i % 2], v.model, v.id, current_user::regrole, false, 100 + i,
            CASE WHEN i > 20 THEN 'alarm' ELSE 'silent' END, i / 40.0, CASE WHEN i > 20 THEN '{"<i>x</i>"}'::text[] ELSE '{}' END,
            0.1, timestamptz '2026-01-01 00:00+00' + i * interval '1 day'
        FROM damson_catalog.versions v, generate_series(1, 30) i"""
    )
    text = one(db, "SELECT damson.report('m')")
    pages.look("history", text, lambda page: page.click("text=Measurements"))
    assert text.count("class=\"tag alert\">alarm<") == 10 and "&lt;b&gt;weekly" in text and "2026-01-31" in text
    # Monitors are of the roles that made them.
    assert "nightly" not in one(his, "SELECT damson.report('m')")
